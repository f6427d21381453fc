// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package sensing

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// groupSize is how many cgroups share a parent, as the containers of a pod.
	groupSize = 25
	// lifetime bounds the sleeping processes should nobody be left to end them.
	lifetime = "1200"
)

// Tree is a subtree of cgroup v2 of the benchmark's own.
type Tree struct {
	// Root is the directory of its topmost cgroup.
	Root string
	// Paths are all its cgroups, Root first, parents before their children.
	Paths []string
	pids  []int
}

// treeName is the topmost cgroup's.
func treeName() string { return fmt.Sprintf("reflex-bench-%d", os.Getpid()) }

// Grow makes a tree of n cgroups below a cgroup v2 directory.
func Grow(parent string, n int) (*Tree, error) {
	t := &Tree{Root: filepath.Join(parent, treeName())}
	if err := t.grow(n); err != nil {
		return nil, errors.Join(err, t.Remove())
	}
	return t, nil
}

func (t *Tree) grow(n int) error {
	if err := t.add(t.Root); err != nil {
		return err
	}
	group := ""
	for i := 0; len(t.Paths) < n; i++ {
		path := filepath.Join(t.Root, fmt.Sprintf("group%d", i/(groupSize+1)))
		if i%(groupSize+1) == 0 {
			group = path
		} else {
			path = filepath.Join(group, fmt.Sprintf("member%d", i))
		}
		if err := t.add(path); err != nil {
			return err
		}
	}
	return nil
}

// add makes one cgroup and lets its children have the memory controller where it
// is to be had.
func (t *Tree) add(path string) error {
	if err := os.Mkdir(path, 0o755); err != nil {
		return fmt.Errorf("make a cgroup: %w", err)
	}
	t.Paths = append(t.Paths, path)
	if filepath.Base(path) == filepath.Base(t.Root) || strings.HasPrefix(filepath.Base(path), "group") {
		controllers, _ := os.ReadFile(filepath.Join(path, "cgroup.controllers"))
		if slices.Contains(strings.Fields(string(controllers)), "memory") {
			return os.WriteFile(filepath.Join(path, "cgroup.subtree_control"), []byte("+memory"), 0)
		}
	}
	return nil
}

// Populate starts one sleeping process in every cgroup without children.
func (t *Tree) Populate() error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	sleep, err := lookPath("sleep")
	if err != nil {
		return err
	}
	for i, path := range t.Paths {
		if i+1 < len(t.Paths) && filepath.Dir(t.Paths[i+1]) == path {
			continue
		}
		pid, err := startIn(path, null, sleep, lifetime)
		if err != nil {
			return err
		}
		t.pids = append(t.pids, pid)
	}
	return nil
}

func startIn(path string, null *os.File, argv ...string) (int, error) {
	directory, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer directory.Close()
	pid, err := syscall.ForkExec(argv[0], argv, &syscall.ProcAttr{
		Files: []uintptr{null.Fd(), null.Fd(), null.Fd()},
		Sys:   &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(directory.Fd())},
	})
	if err != nil {
		return 0, fmt.Errorf("start %s in %s: %w", argv[0], path, err)
	}
	return pid, nil
}

// Remove ends the processes and removes the tree. It may be called more than
// once.
func (t *Tree) Remove() error {
	for _, pid := range t.pids {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	for _, pid := range t.pids {
		_, _ = syscall.Wait4(pid, nil, 0, nil)
	}
	t.pids = nil
	var errs []error
	for _, path := range slices.Backward(t.Paths) {
		errs = append(errs, removeCgroup(path))
	}
	t.Paths = nil
	return errors.Join(errs...)
}

// removeCgroup waits for a process that has ended to have left.
func removeCgroup(path string) error {
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		err := unix.Rmdir(path)
		switch {
		case err == nil || errors.Is(err, os.ErrNotExist):
			return nil
		case !errors.Is(err, unix.EBUSY) || time.Now().After(deadline):
			return fmt.Errorf("remove cgroup %s: %w", path, err)
		}
	}
}
