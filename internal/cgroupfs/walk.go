// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Walk calls visit for the root and every cgroup below it, parents before their
// children; parent is 0 and path "/" for the root. Cgroups that vanish on the
// way are left out. An error of visit ends the walk and is returned.
func (r *Root) Walk(visit func(id, parent uint64, path string) error) error {
	return r.WalkDirs(func(d *Dir, parent uint64, path string) error { return visit(d.id, parent, path) })
}

// WalkDirs is [Root.Walk] with each cgroup's directory open during the visit.
// visit must not keep or close it.
func (r *Root) WalkDirs(visit func(d *Dir, parent uint64, path string) error) error {
	w := walk{root: r, visit: visit, buf: make([]byte, 8192)}
	d, err := r.descend("/")
	if err != nil {
		return fmt.Errorf("walk %s: %w", r.path, err)
	}
	return w.dir(d, 0, "/")
}

// WalkDirs visits the cgroup and every cgroup below it; path is where the
// cgroup itself is.
func (d *Dir) WalkDirs(path string, visit func(d *Dir, parent uint64, path string) error) error {
	fd, err := openat(d.fd, ".", openDir)
	if err != nil {
		return d.wrap("open", ".", err)
	}
	top, err := d.root.adopt(fd)
	if err != nil {
		return d.wrap("open", ".", err)
	}
	w := walk{root: d.root, visit: visit, buf: make([]byte, 8192)}
	return w.dir(top, 0, path)
}

type walk struct {
	root  *Root
	visit func(d *Dir, parent uint64, path string) error
	buf   []byte
}

func (w *walk) dir(d *Dir, parent uint64, path string) error {
	defer d.Close()
	if err := w.visit(d, parent, path); err != nil {
		return err
	}
	names, err := w.children(d.fd)
	if err != nil {
		return nil // removed under us: there is nothing below it any more
	}
	prefix := path + "/"
	if path == "/" {
		prefix = "/"
	}
	for _, name := range names {
		fd, err := openat(d.fd, name, openDir)
		if err != nil {
			if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM) {
				return fmt.Errorf("walk %s: %w", prefix+name, err)
			}
			continue
		}
		child, err := w.root.adopt(fd)
		if err != nil {
			continue
		}
		if err := w.dir(child, d.id, prefix+name); err != nil {
			return err
		}
	}
	return nil
}

// children lists the directories in a directory from its raw entries, whose
// type spares a stat for each of a cgroup's dozens of files.
func (w *walk) children(fd int) ([]string, error) {
	const nameAt = 19 // offset of d_name in struct linux_dirent64
	var names []string
	for {
		n, err := unix.Getdents(fd, w.buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return names, nil
		}
		for entries := w.buf[:n]; len(entries) > nameAt; {
			size := int(binary.NativeEndian.Uint16(entries[16:]))
			kind, name := entries[18], unix.ByteSliceToString(entries[nameAt:size])
			entries = entries[size:]
			if (kind == unix.DT_DIR || kind == unix.DT_UNKNOWN) && name != "." && name != ".." {
				names = append(names, name)
			}
		}
	}
}
