// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// Dir is one cgroup, held by an open descriptor of its directory. Once the
// cgroup is removed every method fails with [ErrGone], also if another cgroup
// was created at the same path. A Dir is not safe for use after Close; apart
// from that it is safe for concurrent use.
type Dir struct {
	root  *Root
	fd    int
	id    uint64
	dev   uint64
	attrs Attributes

	once sync.Once
}

// ID returns the kernel's id of the cgroup.
func (d *Dir) ID() uint64 { return d.id }

// FD returns the descriptor of the directory, for links to the cgroup. It is the
// Dir's: valid until Close.
func (d *Dir) FD() int { return d.fd }

// Close closes the descriptor.
func (d *Dir) Close() error {
	var err error
	d.once.Do(func() { err = unix.Close(d.fd) })
	return err
}

// Path returns where the cgroup is now, relative to the root.
func (d *Dir) Path() (string, error) {
	if d.id == d.root.dir.id {
		return "/", nil
	}
	top, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(d.root.dir.fd))
	if err != nil {
		return "", fmt.Errorf("name cgroup %d: %w", d.id, err)
	}
	full, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(d.fd))
	if err != nil {
		return "", fmt.Errorf("name cgroup %d: %w", d.id, err)
	}
	rel, below := strings.CutPrefix(full, strings.TrimSuffix(top, "/")+"/")
	if !below {
		return "", fmt.Errorf("name cgroup %d: %s is not below %s: %w", d.id, full, top, ErrGone)
	}
	// A removed directory keeps a name; only what is there now counts.
	var st unix.Stat_t
	if err := unix.Fstatat(d.root.dir.fd, rel, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil || st.Ino != d.id {
		return "", fmt.Errorf("name cgroup %d: %w", d.id, ErrGone)
	}
	return "/" + rel, nil
}

// Exists reports whether the cgroup has a file or child of this name.
func (d *Dir) Exists(name string) bool {
	var st unix.Stat_t
	return unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil
}

// ReadFile reads a file of the cgroup into buf, growing it where needed, and
// returns the filled part. A file the cgroup does not have is os.ErrNotExist.
func (d *Dir) ReadFile(name string, buf []byte) ([]byte, error) {
	if err := d.before("open", name); err != nil {
		return nil, err
	}
	fd, err := openat(d.fd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC)
	if err != nil {
		return nil, d.wrap("open", name, err)
	}
	defer unix.Close(fd)
	if err := d.before("read", name); err != nil {
		return nil, err
	}
	buf = buf[:0]
	for {
		if len(buf) == cap(buf) {
			buf = append(buf, make([]byte, max(512, cap(buf)))...)[:len(buf)]
		}
		n, err := unix.Read(fd, buf[len(buf):cap(buf)])
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return nil, d.wrap("read", name, err)
		case n == 0:
			return buf, nil
		}
		buf = buf[:len(buf)+n]
	}
}

// ReadUint reads a file that holds one number, or "max" for [arc.Unlimited].
func (d *Dir) ReadUint(name string) (uint64, error) {
	var buf [64]byte
	text, err := d.ReadFile(name, buf[:0])
	if err != nil {
		return 0, err
	}
	v, ok := ParseUint(text)
	if !ok {
		return 0, fmt.Errorf("read %s of cgroup %d: %q is not a number", name, d.id, text)
	}
	return v, nil
}

// WriteUint writes a number to a file of the cgroup, "max" for
// [arc.Unlimited] and above.
//
// The file is opened with O_NONBLOCK: kernels that know it for memory limits do
// not reclaim in the writer. To all other files it means nothing.
func (d *Dir) WriteUint(name string, v uint64) error {
	var buf [24]byte
	return d.write(name, append(AppendUint(buf[:0], v), '\n'), unix.O_NONBLOCK)
}

// WriteText writes a setting that is more than a number to a file of the cgroup,
// by one system call. A missing device is ENODEV where the cgroup still exists.
func (d *Dir) WriteText(name, text string) error {
	return d.write(name, []byte(text+"\n"), 0)
}

func (d *Dir) write(name string, text []byte, flags int) error {
	if err := d.before("write", name); err != nil {
		return err
	}
	if d.root.writes != nil {
		if err := d.root.writes(d, name, text); err != nil {
			return d.wrap("write", name, err)
		}
		return nil
	}
	fd, err := openat(d.fd, name, unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC|flags)
	if err != nil {
		return d.wrap("open", name, err)
	}
	defer unix.Close(fd)
	for {
		n, err := unix.Write(fd, text)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return d.wrap("write", name, err)
		case n != len(text):
			return fmt.Errorf("write %s of cgroup %d: wrote %d of %d bytes", name, d.id, n, len(text))
		}
		return d.cut(fd, name, int64(n))
	}
}

// cut takes what is left of a longer former value off a plain file. It is done
// after the write, so that a reader never sees an empty file; a cgroup file has
// no length.
func (d *Dir) cut(fd int, name string, length int64) error {
	if d.root.kernfs {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return d.wrap("stat", name, err)
	}
	if st.Size <= length {
		return nil
	}
	if err := unix.Ftruncate(fd, length); err != nil {
		return d.wrap("truncate", name, err)
	}
	return nil
}

// Processes appends the pids of the cgroup's own processes to pids. Processes
// that this pid namespace cannot see are 0.
func (d *Dir) Processes(pids []int) ([]int, error) {
	text, err := d.ReadFile("cgroup.procs", make([]byte, 0, 1024))
	if err != nil {
		return pids, err
	}
	for line := range bytes.Lines(text) {
		if pid, err := strconv.Atoi(string(bytes.TrimSpace(line))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// wrap names file and cgroup, and turns what a removed cgroup answers into
// [ErrGone]. ENODEV is also what io.max answers about a device that is not there.
func (d *Dir) wrap(verb, name string, err error) error {
	if (errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT)) && !d.alive() {
		err = ErrGone
	}
	return fmt.Errorf("%s %s of cgroup %d: %w", verb, name, d.id, err)
}

// alive reports whether the directory is still linked.
func (d *Dir) alive() bool {
	_, err := d.Path()
	return err == nil
}

// ParseUint reads the first line of text as a number; "max" is
// [arc.Unlimited], and so is every number at or above it.
func ParseUint(text []byte) (uint64, bool) {
	line, _, _ := bytes.Cut(text, []byte{'\n'})
	line = bytes.TrimSpace(line)
	if string(line) == "max" {
		return arc.Unlimited, true
	}
	v, ok := parseDigits(line)
	return min(v, arc.Unlimited), ok
}

// AppendUint appends v as a limit file wants it.
func AppendUint(to []byte, v uint64) []byte {
	if v >= arc.Unlimited {
		return append(to, "max"...)
	}
	return strconv.AppendUint(to, v, 10)
}

// Keyed returns the value of key in a flat keyed file such as memory.stat.
func Keyed(text []byte, key string) (uint64, bool) {
	for len(text) > 0 {
		line := text
		if i := bytes.IndexByte(text, '\n'); i >= 0 {
			line, text = text[:i], text[i+1:]
		} else {
			text = nil
		}
		if len(line) > len(key) && line[len(key)] == ' ' && string(line[:len(key)]) == key {
			return parseDigits(line[len(key)+1:])
		}
	}
	return 0, false
}

func parseDigits(text []byte) (uint64, bool) {
	if len(text) == 0 || len(text) > 20 {
		return 0, false
	}
	var v uint64
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, false
		}
		next := v*10 + uint64(c-'0')
		if v > (1<<64-1)/10 || next < v*10 {
			return 0, false
		}
		v = next
	}
	return v, true
}

var pageSize = uint64(os.Getpagesize())

// PageDown rounds a number of bytes down to whole pages, as the kernel does
// with every memory limit it is given. [arc.Unlimited] stays unlimited.
func PageDown(v uint64) uint64 {
	if v >= arc.Unlimited {
		return arc.Unlimited
	}
	return v - v%pageSize
}

// PageUp rounds a number of bytes up to whole pages.
func PageUp(v uint64) uint64 {
	if v >= arc.Unlimited-pageSize {
		return arc.Unlimited
	}
	return PageDown(v + pageSize - 1)
}
