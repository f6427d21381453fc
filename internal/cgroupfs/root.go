// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrGone says that a cgroup does not exist, or no longer.
var ErrGone = errors.New("cgroup is gone")

const (
	// handleKernfs is FILEID_KERNFS: a file handle of kernfs is the 64-bit id
	// of the node (include/linux/exportfs.h, since 5.5).
	handleKernfs = 0xfe
	// maxHints bounds the memory of where a cgroup was seen last.
	maxHints = 1 << 16

	openDir = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
)

// Root is the top of a cgroup v2 hierarchy, or of the part of it that is used.
// It is safe for concurrent use.
type Root struct {
	dir    *Dir
	path   string
	kernfs bool
	writes Writes
	before func(Call) error // nil but in tests

	mu    sync.Mutex
	hints map[uint64]string // where a cgroup was last seen; verified at each use
	noHnd bool              // open_by_handle_at is not permitted here
}

// Option changes how a [Root] works.
type Option func(*Root)

// WithAttributes keeps extended attributes in a instead of in the kernel.
func WithAttributes(a Attributes) Option { return func(r *Root) { r.dir.attrs = a } }

// Writes stands in for the kernel's part in writing a file of a cgroup, for plain
// trees: what it accepts, and what else changes. Its errors are the kernel's.
type Writes func(d *Dir, name string, text []byte) error

// WithWrites has w write every file.
func WithWrites(w Writes) Option { return func(r *Root) { r.writes = w } }

// OpenRoot opens the cgroup v2 directory at path, or one of a plain tree. It
// refuses cgroup v1, and a directory in which hierarchies are mounted.
func OpenRoot(path string, options ...Option) (*Root, error) {
	fd, err := openat(unix.AT_FDCWD, path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open cgroup root %s: %w", path, err)
	}
	r := &Root{path: path, hints: map[uint64]string{}}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("stat cgroup root %s: %w", path, err)
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("statfs cgroup root %s: %w", path, err)
	}
	if r.kernfs = uint32(fs.Type) == unix.CGROUP2_SUPER_MAGIC; !r.kernfs {
		if err := notUnified(path, int64(fs.Type)); err != nil { //nolint:unconvert // int32 on some platforms
			unix.Close(fd)
			return nil, fmt.Errorf("open cgroup root %s: %w", path, err)
		}
	}
	r.dir = &Dir{root: r, fd: fd, id: st.Ino, dev: st.Dev, attrs: Kernel{}}
	for _, option := range options {
		option(r)
	}
	return r, nil
}

// Kernel reports whether the root is a real cgroup v2 file system rather than a
// plain directory tree.
func (r *Root) Kernel() bool { return r.kernfs }

// ID returns the id of the root itself.
func (r *Root) ID() uint64 { return r.dir.id }

// Name returns the path the root was opened by, for messages.
func (r *Root) Name() string { return r.path }

// Dir returns the root's own directory. It stays open until the root is closed.
func (r *Root) Dir() *Dir { return r.dir }

// Close closes the root. Directories opened from it stay usable.
func (r *Root) Close() error { return r.dir.Close() }

// Open returns the cgroup with this id. It returns an error that wraps
// [ErrGone] when there is none below the root. The caller closes the directory.
func (r *Root) Open(id uint64) (*Dir, error) {
	d, _, err := r.open(id)
	return d, err
}

// Path returns where the cgroup with this id is now, relative to the root:
// "/" for the root itself, "/a/b" for a descendant.
func (r *Root) Path(id uint64) (string, error) {
	d, p, err := r.open(id)
	if err != nil {
		return "", err
	}
	defer d.Close()
	if p == "" {
		return d.Path()
	}
	return p, nil
}

// OpenPath returns the cgroup that is at a path relative to the root now.
func (r *Root) OpenPath(rel string) (*Dir, error) {
	d, err := r.descend(rel)
	if err != nil {
		return nil, fmt.Errorf("open cgroup %s: %w", rel, err)
	}
	return d, nil
}

// open finds a cgroup: by kernel handle, then where it was seen last, then by
// looking everywhere. The path is "" where finding it needed none.
func (r *Root) open(id uint64) (*Dir, string, error) {
	if id == 0 {
		return nil, "", fmt.Errorf("cgroup id 0 names no cgroup: %w", ErrGone)
	}
	if id == r.dir.id {
		d, err := r.descend("/")
		return d, "/", err
	}
	d, err := r.byHandle(id)
	switch {
	case err == nil:
		return d, "", nil
	case errors.Is(err, ErrGone):
		return nil, "", err
	}
	r.mu.Lock()
	hint, known := r.hints[id]
	r.mu.Unlock()
	if known {
		if d, err := r.descend(hint); err == nil {
			if d.id == id {
				return d, hint, nil
			}
			d.Close()
		}
	}
	return r.search(id)
}

// byHandle opens a cgroup by its kernfs handle. Any error but ErrGone means
// that handles do not answer the question here.
func (r *Root) byHandle(id uint64) (*Dir, error) {
	r.mu.Lock()
	no := r.noHnd
	r.mu.Unlock()
	if !r.kernfs || no {
		return nil, unix.EOPNOTSUPP
	}
	raw := *(*[8]byte)(unsafe.Pointer(&id)) // the kernel's own byte order
	fd, err := unix.OpenByHandleAt(r.dir.fd, unix.NewFileHandle(handleKernfs, raw[:]), openDir)
	switch {
	case errors.Is(err, unix.ESTALE), errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR):
		return nil, fmt.Errorf("open cgroup %d: %w", id, ErrGone)
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
		r.mu.Lock()
		r.noHnd = true
		r.mu.Unlock()
		return nil, err
	case err != nil:
		return nil, err
	}
	d, err := r.adopt(fd)
	if err != nil {
		return nil, err
	}
	// A handle reaches the whole file system: outside of the root is not ours.
	if _, err := d.Path(); d.id != id || err != nil {
		d.Close()
		return nil, fmt.Errorf("open cgroup %d: %w", id, ErrGone)
	}
	return d, nil
}

// descend opens a path component by component, so that no link is followed.
func (r *Root) descend(rel string) (*Dir, error) {
	fd, err := openat(r.dir.fd, ".", openDir)
	if err != nil {
		return nil, err
	}
	for part := range strings.SplitSeq(path.Clean("/"+rel), "/") {
		if part == "" {
			continue
		}
		next, err := openat(fd, part, openDir)
		unix.Close(fd)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) {
			return nil, ErrGone
		}
		if err != nil {
			return nil, err
		}
		fd = next
	}
	return r.adopt(fd)
}

// adopt makes a Dir of an open directory on the root's file system.
func (r *Root) adopt(fd int) (*Dir, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, err
	}
	if st.Dev != r.dir.dev {
		unix.Close(fd)
		return nil, fmt.Errorf("directory is on another file system: %w", ErrGone)
	}
	return &Dir{root: r, fd: fd, id: st.Ino, dev: st.Dev, attrs: r.dir.attrs}, nil
}

// search walks the tree for one cgroup and remembers what it saw.
func (r *Root) search(id uint64) (*Dir, string, error) {
	seen := map[uint64]string{}
	err := r.Walk(func(found, _ uint64, p string) error {
		if len(seen) < maxHints || found == id {
			seen[found] = p
		}
		return nil
	})
	if err != nil {
		return nil, "", fmt.Errorf("look for cgroup %d: %w", id, err)
	}
	r.mu.Lock()
	r.hints = seen
	r.mu.Unlock()
	p, ok := seen[id]
	if !ok {
		return nil, "", fmt.Errorf("open cgroup %d: %w", id, ErrGone)
	}
	d, err := r.descend(p)
	if err != nil {
		return nil, "", fmt.Errorf("open cgroup %d at %s: %w", id, p, err)
	}
	if d.id != id {
		d.Close()
		return nil, "", fmt.Errorf("open cgroup %d: %w", id, ErrGone)
	}
	return d, p, nil
}

// openat retries where a signal interrupted the call.
func openat(fd int, name string, flags int) (int, error) {
	for {
		got, err := unix.Openat(fd, name, flags, 0)
		if !errors.Is(err, unix.EINTR) {
			return got, err
		}
	}
}
