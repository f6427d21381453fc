// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"bytes"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

// ioFloor is the least that may be read or written, in bytes a second. The kernel
// sends requests of a mebibyte and more, each of which waits for its whole size:
// below, a single one takes longer than a second, programs wait as long for their
// own pages, and whoever needs the same file system's journal waits with them.
const ioFloor = 1 << 20

// ioWeight is the share of I/O among siblings, where nothing else is said of a
// device. What is said of one stays.
type ioWeight struct{ setting }

func (k ioWeight) read(t target) (uint64, error) {
	text, err := k.text(t, make([]byte, 0, 256))
	if err != nil {
		return 0, err
	}
	v, known := cgroupfs.Keyed(text, "default")
	if !known {
		return 0, fmt.Errorf("read io.weight of cgroup %d: %q has no default", t.dir.ID(), text)
	}
	return v, nil
}

func (k ioWeight) write(t target, v uint64) error {
	return t.dir.WriteText(k.name, fmt.Sprintf("default %d", v))
}

func (ioWeight) grant(_ target, _, want, _ uint64) (uint64, error) { return weigh(want), nil }

func (ioWeight) move(_ target, _, want uint64) (uint64, error) { return weigh(want), nil }

// ioMax is a cap on bytes a second in one direction from or to one device: one
// key of one line. The other keys and lines stay.
type ioMax struct {
	setting
	key string
}

func (ioMax) device() bool { return true }

// read returns [arc.Unlimited] where the device has no line: the kernel shows
// none that limits nothing.
func (k ioMax) read(t target) (uint64, error) {
	if t.device == 0 {
		return 0, refusal("the order names no device")
	}
	text, err := k.text(t, make([]byte, 0, 512))
	if err != nil {
		return 0, err
	}
	name := t.device.String()
	for line := range bytes.Lines(text) {
		fields := bytes.Fields(line)
		if len(fields) == 0 || string(fields[0]) != name {
			continue
		}
		for _, field := range fields[1:] {
			if key, value, _ := bytes.Cut(field, []byte{'='}); string(key) == k.key {
				v, known := cgroupfs.ParseUint(value)
				if !known {
					return 0, fmt.Errorf("read io.max of cgroup %d: %q is not a limit", t.dir.ID(), field)
				}
				return v, nil
			}
		}
	}
	return arc.Unlimited, nil
}

func (k ioMax) write(t target, v uint64) error {
	err := t.dir.WriteText(k.name, fmt.Sprintf("%s %s=%s", t.device, k.key, cgroupfs.AppendUint(nil, v)))
	if errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("%w: %w", refusal("there is no device "+t.device.String()+", or it is a part of one"), err)
	}
	return err
}

func (ioMax) grant(_ target, _, want, _ uint64) (uint64, error) { return max(want, ioFloor), nil }

// move goes both ways: what is under way is finished at any rate.
func (ioMax) move(_ target, _, want uint64) (uint64, error) { return max(want, ioFloor), nil }

// device is a block device's number as in [arc.Order]; 0 is none.
type device uint64

func (d device) String() string { return fmt.Sprintf("%d:%d", uint64(d)>>32, uint32(d)) }

// MarshalText implements encoding.TextMarshaler.
func (d device) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *device) UnmarshalText(text []byte) error {
	var major, minor uint32
	if n, err := fmt.Sscanf(string(text), "%d:%d", &major, &minor); n != 2 || err != nil {
		return fmt.Errorf("%q is not a device", text)
	}
	v := device(major)<<32 | device(minor)
	if v.String() != string(text) {
		return fmt.Errorf("%q is not a device", text)
	}
	*d = v
	return nil
}
