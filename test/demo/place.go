// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Where the scenario can be played.
const (
	Auto   = "auto"
	Native = "native"
	VM     = "vm"
)

// Place is where the scenario is played, and why there.
type Place struct {
	// Where is Native or VM.
	Where string
	// Why is one clause for people: "this is root on cgroup v2".
	Why string
	// CgroupRoot is the cgroup v2 mount of a native run.
	CgroupRoot string
}

// Machine is what [Choose] asks of this machine.
type Machine struct {
	UID int
	// MountInfo is the content of /proc/self/mountinfo.
	MountInfo string
	// Controllers reads cgroup.controllers of a cgroup v2 mount.
	Controllers func(mount string) (string, error)
	// Free is how much memory is available, in bytes.
	Free uint64
}

// ThisMachine describes the machine it runs on.
func ThisMachine() (Machine, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return Machine{}, err
	}
	m := Machine{UID: os.Geteuid(), MountInfo: string(mounts)}
	m.Controllers = func(mount string) (string, error) {
		b, err := os.ReadFile(filepath.Join(mount, "cgroup.controllers"))
		return string(b), err
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return Machine{}, fmt.Errorf("sysinfo: %w", err)
	}
	m.Free = (uint64(info.Freeram) + uint64(info.Bufferram)) * uint64(info.Unit) //nolint:unconvert // narrower on 32-bit machines
	return m, nil
}

// Choose says where to play: as asked, or natively wherever that is possible.
// need is the memory the workload takes at most, in bytes. The error says why a
// native run that was asked for is not possible.
func Choose(asked string, m Machine, need uint64) (Place, error) {
	if asked == VM {
		return Place{Where: VM, Why: "asked for"}, nil
	}
	mount, obstacle := m.nativeObstacle(need)
	switch {
	case obstacle == "" && asked == Native:
		return Place{Native, "asked for", mount}, nil
	case obstacle == "":
		return Place{Native, "root on cgroup v2 with the memory controller", mount}, nil
	case asked == Native:
		return Place{}, fmt.Errorf("cannot run natively: %s", obstacle)
	default:
		return Place{Where: VM, Why: obstacle}, nil
	}
}

// nativeObstacle returns the cgroup v2 mount to use, or what stands against a
// native run.
func (m Machine) nativeObstacle(need uint64) (mount, obstacle string) {
	if m.UID != 0 {
		return "", "not root here"
	}
	mounts := cgroup2Mounts(m.MountInfo)
	if len(mounts) == 0 {
		return "", "no cgroup v2 here"
	}
	for _, mount := range mounts {
		controllers, err := m.Controllers(mount)
		if err != nil || !slices.Contains(strings.Fields(controllers), "memory") {
			continue
		}
		if m.Free < need {
			return "", fmt.Sprintf("%d MiB of memory free here, %d MiB needed", m.Free>>20, need>>20)
		}
		return mount, ""
	}
	return "", "cgroup v2 has no memory controller here"
}

// cgroup2Mounts lists the mount points of file systems of type cgroup2 in the
// text of a mountinfo file (proc(5)).
func cgroup2Mounts(mountinfo string) (mounts []string) {
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if ok && len(fields) > 4 && strings.HasPrefix(after, "cgroup2 ") {
			mounts = append(mounts, fields[4])
		}
	}
	return mounts
}
