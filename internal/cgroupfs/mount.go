// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package cgroupfs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNoCgroup2 says that no cgroup v2 file system is mounted.
var ErrNoCgroup2 = errors.New("no cgroup v2 file system is mounted")

// FindRoot returns the mount point of the cgroup v2 file system from
// /proc/self/mountinfo. Where there are several, one that offers the memory
// controller comes first, and one that shows the whole hierarchy before one
// that shows a part. The error wraps [ErrNoCgroup2] where there is none, and says
// so where the machine has cgroup v1 instead.
func FindRoot() (string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", fmt.Errorf("look for the cgroup v2 mount: %w", err)
	}
	defer f.Close()
	return findRoot(f, HasController)
}

// HasController reports whether the cgroup v2 directory at path offers a
// controller to its children.
func HasController(path, controller string) bool {
	text, err := os.ReadFile(filepath.Join(path, "cgroup.controllers"))
	return err == nil && slices.Contains(strings.Fields(string(text)), controller)
}

func findRoot(mountinfo io.Reader, has func(path, controller string) bool) (string, error) {
	best, rank, v1 := "", -1, false
	lines := bufio.NewScanner(mountinfo)
	for lines.Scan() {
		// "36 35 98:0 /root /mount options [optional...] - type source options"
		before, after, found := strings.Cut(lines.Text(), " - ")
		fields := strings.Fields(before)
		v1 = v1 || found && strings.HasPrefix(after, "cgroup ")
		if !found || len(fields) < 6 || !strings.HasPrefix(after, "cgroup2 ") {
			continue
		}
		mount, score := unescape(fields[4]), 0
		if fields[3] == "/" {
			score++
		}
		if has(mount, "memory") {
			score += 2
		}
		if score > rank {
			best, rank = mount, score
		}
	}
	if err := lines.Err(); err != nil {
		return "", fmt.Errorf("look for the cgroup v2 mount: %w", err)
	}
	switch {
	case best != "":
		return best, nil
	case v1:
		return "", fmt.Errorf("%w, only cgroup v1", ErrNoCgroup2)
	}
	return "", ErrNoCgroup2
}

// notUnified says why a directory that is not of cgroup v2 is no root, nil for one
// of a plain tree. On a hybrid machine both are near at hand: a v1 hierarchy,
// whose files have the names of v2 and other meanings, and the directory in which
// all hierarchies are mounted.
func notUnified(path string, kind int64) error {
	if kind == unix.CGROUP_SUPER_MAGIC {
		return errors.New("it is a cgroup v1 hierarchy")
	}
	below, _ := os.ReadDir(path) // who reads more of it says what is wrong
	v1 := false
	for _, d := range below {
		var fs unix.Statfs_t
		mount := filepath.Join(path, d.Name())
		if !d.IsDir() || unix.Statfs(mount, &fs) != nil {
			continue
		}
		switch fs.Type {
		case unix.CGROUP2_SUPER_MAGIC:
			return fmt.Errorf("cgroup v2 is mounted below it, at %s", mount)
		case unix.CGROUP_SUPER_MAGIC:
			v1 = true
		}
	}
	if v1 {
		return errors.New("cgroup v1 hierarchies are mounted below it, and no cgroup v2")
	}
	return nil
}

// unescape undoes the kernel's octal escapes (\040 for a space).
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if c, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(c))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
