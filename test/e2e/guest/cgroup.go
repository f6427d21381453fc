// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Root is where the machine's cgroup v2 hierarchy is.
const Root = "/sys/fs/cgroup"

// Cgroup is a directory below Root, "/" first: "/shop/payment".
type Cgroup string

// Dir returns the cgroup's directory.
func (c Cgroup) Dir() string { return filepath.Join(Root, string(c)) }

// ID returns the kernel's id of the cgroup.
func (c Cgroup) ID(t testing.TB) uint64 {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat(c.Dir(), &st); err != nil {
		t.Fatalf("stat %s: %v", c, err)
	}
	return st.Ino
}

// MakeCgroup creates a cgroup with the memory controller, parents included, and
// removes it with all its processes when the test ends.
func MakeCgroup(t testing.TB, path string) Cgroup {
	t.Helper()
	parts := strings.Split(strings.Trim(path, "/"), "/")
	for i := range parts {
		dir := filepath.Join(append([]string{Root}, parts[:i+1]...)...)
		if err := os.Mkdir(dir, 0o755); err == nil {
			t.Cleanup(func() { removeCgroup(t, dir) })
		} else if !errors.Is(err, fs.ErrExist) {
			t.Fatalf("make a cgroup: %v", err)
		}
		if i < len(parts)-1 {
			if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+memory +pids"), 0); err != nil {
				t.Fatalf("delegate controllers: %v", err)
			}
		}
	}
	return Cgroup("/" + strings.Join(parts, "/"))
}

func removeCgroup(t testing.TB, dir string) {
	t.Helper()
	_ = os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0)
	deadline := time.Now().Add(10 * time.Second)
	for {
		err := os.Remove(dir)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("remove a cgroup: %v", err)
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Set writes a file of the cgroup.
func (c Cgroup) Set(t testing.TB, file string, value any) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(c.Dir(), file), fmt.Append(nil, value), 0); err != nil {
		t.Fatalf("set %s of %s: %v", file, c, err)
	}
}

// Get reads a file of the cgroup.
func (c Cgroup) Get(t testing.TB, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(c.Dir(), file))
	if err != nil {
		t.Fatalf("read %s of %s: %v", file, c, err)
	}
	return strings.TrimSpace(string(text))
}

// Usage returns memory.current in bytes.
func (c Cgroup) Usage(t testing.TB) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(c.Get(t, "memory.current"), 10, 64)
	if err != nil {
		t.Fatalf("memory.current of %s: %v", c, err)
	}
	return n
}

// Event returns a counter of memory.events.
func (c Cgroup) Event(t testing.TB, key string) int {
	t.Helper()
	for _, line := range strings.Split(c.Get(t, "memory.events"), "\n") {
		if text, ok := strings.CutPrefix(line, key+" "); ok {
			n, err := strconv.Atoi(text)
			if err != nil {
				t.Fatalf("memory.events of %s: %v", c, err)
			}
			return n
		}
	}
	t.Fatalf("memory.events of %s has no %s", c, key)
	return 0
}

// Attributes returns the names of the extended attributes of a cgroup directory.
func Attributes(dir string) ([]string, error) {
	buf := make([]byte, 4096)
	n, err := syscall.Listxattr(dir, buf)
	if err != nil || n == 0 {
		return nil, err
	}
	return strings.Split(strings.TrimRight(string(buf[:n]), "\x00"), "\x00"), nil
}

// Walk calls f with the directory of every cgroup but the root.
func Walk(f func(dir string)) {
	_ = filepath.WalkDir(Root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != Root {
			f(path)
		}
		return nil // cgroups come and go while we walk
	})
}
