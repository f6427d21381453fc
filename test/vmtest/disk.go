// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package vmtest

import (
	"errors"
	"fmt"
	"os"
)

// Disk is an empty disk of a [Machine].
type Disk struct {
	MiB int
	// BytesPerSecond bounds reads and writes together; 0 does not.
	BytesPerSecond int
}

// diskModule is the guest's driver.
const diskModule = "virtio_blk"

// makeDisks makes the machine's disks as sparse files, which remove removes.
func (m *Machine) makeDisks() (paths []string, remove func() error, err error) {
	remove = func() error {
		var errs []error
		for _, path := range paths {
			errs = append(errs, os.Remove(path))
		}
		return errors.Join(errs...)
	}
	if len(m.Disks) == 0 {
		return nil, remove, nil
	}
	dir, err := cacheDir()
	if err != nil {
		return nil, remove, err
	}
	for _, d := range m.Disks {
		f, err := os.CreateTemp(dir, "disk-")
		if err != nil {
			return nil, remove, errors.Join(err, remove())
		}
		paths = append(paths, f.Name())
		if err := errors.Join(f.Truncate(int64(d.MiB)<<20), f.Close()); err != nil {
			return nil, remove, errors.Join(fmt.Errorf("make a disk: %w", err), remove())
		}
	}
	return paths, remove, nil
}

// diskArguments are QEMU's for the disks, which the guest sees as /dev/vda and so
// on. What is written may stay in the host's page cache: nobody reads it again.
func (m *Machine) diskArguments(paths []string) (arguments []string) {
	for i, path := range paths {
		drive := fmt.Sprintf("file=%s,if=none,id=disk%d,format=raw,cache=unsafe", path, i)
		if rate := m.Disks[i].BytesPerSecond; rate > 0 {
			drive += fmt.Sprintf(",throttling.bps-total=%d", rate)
		}
		arguments = append(arguments, "-drive", drive, "-device", fmt.Sprintf("virtio-blk-pci,drive=disk%d", i))
	}
	return arguments
}
