// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Values of memory.high that the owners of the cgroups want.
const (
	original  = "838860800"
	rewritten = "943718400"
	ofOthers  = "629145600"
)

const recordName = "trusted.reflex.lease.memory.high"

// arena is the cgroups of a run: one target, and neighbours nobody may touch.
// Below a directory that is no cgroup file system they are plain files.
type arena struct {
	root    string
	plain   bool
	sleeper []string // the command of a process that only is there
	tenants map[string]*exec.Cmd
	before  map[string]string // what untouched compares with
}

const target = "shop/target"

var others = []string{"shop", "shop/neighbour", "bystander"}

func newArena(root string, sleeper []string) (*arena, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(root, &st); err != nil {
		return nil, fmt.Errorf("statfs %s: %w", root, err)
	}
	a := &arena{root: root, plain: uint32(st.Type) != unix.CGROUP2_SUPER_MAGIC, sleeper: sleeper, tenants: map[string]*exec.Cmd{}}
	for _, c := range append([]string{"reflex", "reflex/guard", "reflex/collector"}, others...) {
		if err := a.make(c); err != nil {
			return nil, err
		}
	}
	for _, c := range others[1:] {
		if err := errors.Join(a.write(c, "memory.high", ofOthers), a.populate(c)); err != nil {
			return nil, err
		}
	}
	return a, a.replaceTarget(original)
}

func (a *arena) dir(c string) string { return filepath.Join(a.root, c) }

// make makes a cgroup with the memory controller.
func (a *arena) make(c string) error {
	if err := os.Mkdir(a.dir(c), 0o755); err != nil {
		return err
	}
	if !a.plain {
		if slices.Contains([]string{"reflex", "shop"}, c) {
			return a.write(c, "cgroup.subtree_control", "+memory +pids")
		}
		return nil
	}
	for file, text := range map[string]string{
		"memory.high": "max", "memory.max": "max", "memory.min": "0", "memory.low": "0", "memory.current": "8388608",
		"memory.stat": "anon 4194304\nkernel 1048576", "cgroup.procs": "", "cgroup.type": "domain", "cgroup.events": "populated 1\nfrozen 0",
	} {
		if err := os.WriteFile(filepath.Join(a.dir(c), file), []byte(text+"\n"), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// populate starts a process in a cgroup.
func (a *arena) populate(c string) error {
	cmd := exec.Command(a.sleeper[0], a.sleeper[1:]...)
	stop, err := a.in(cmd, c)
	if err != nil {
		return err
	}
	defer stop()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start a process in %s: %w", c, err)
	}
	a.tenants[c] = cmd
	if a.plain {
		return a.write(c, "cgroup.procs", strconv.Itoa(cmd.Process.Pid))
	}
	return nil
}

// in has a command start in a cgroup. The caller calls done once it has.
func (a *arena) in(cmd *exec.Cmd, c string) (done func(), err error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if a.plain {
		return func() {}, nil
	}
	dir, err := os.Open(a.dir(c))
	if err != nil {
		return nil, err
	}
	cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(dir.Fd())
	return func() { _ = dir.Close() }, nil
}

// replaceTarget removes the target, if it is there, and makes another one at the
// same path whose owner wants high.
func (a *arena) replaceTarget(high string) error {
	if err := a.remove(target); err != nil {
		return err
	}
	if err := a.make(target); err != nil {
		return err
	}
	if high != "max" {
		if err := a.write(target, "memory.high", high); err != nil {
			return err
		}
	}
	return a.populate(target)
}

func (a *arena) remove(c string) error {
	if cmd := a.tenants[c]; cmd != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		delete(a.tenants, c)
	}
	if a.plain {
		return os.RemoveAll(a.dir(c))
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		err := os.Remove(a.dir(c))
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if time.Now().After(deadline) {
			return err
		}
	}
}

// close removes everything again.
func (a *arena) close() error {
	var failed error
	for _, c := range []string{target, "shop/neighbour", "bystander", "shop", "reflex/collector", "reflex/guard", "reflex"} {
		failed = errors.Join(failed, a.remove(c))
	}
	return failed
}

func (a *arena) write(c, file, text string) error {
	f, err := os.OpenFile(filepath.Join(a.dir(c), file), os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(text + "\n")
	return err
}

func (a *arena) read(c, file string) (string, error) {
	text, err := os.ReadFile(filepath.Join(a.dir(c), file))
	return strings.TrimSpace(string(text)), err
}

// record reports whether the target carries a lease record.
func (a *arena) record() bool {
	n, err := unix.Getxattr(a.dir(target), recordName, nil)
	return err == nil && n > 0
}

func (a *arena) id() (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(a.dir(target), &st); err != nil {
		return 0, err
	}
	return st.Ino, nil
}

// settings returns the content of every file by which a cgroup can be changed,
// and the names of its attributes; of the target all but what is leased.
func (a *arena) settings() (map[string]string, error) {
	all := map[string]string{}
	for _, c := range append([]string{target}, others...) {
		entries, err := os.ReadDir(a.dir(c))
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil {
				return nil, err
			}
			if name := e.Name(); !e.IsDir() && info.Mode().Perm()&0o200 != 0 && !varies(name) && (c != target || name != "memory.high") {
				if text, err := a.read(c, name); err == nil { // some are for writing only
					all[c+"/"+name] = text
				}
			}
		}
		buf := make([]byte, 1024)
		n, err := unix.Listxattr(a.dir(c), buf)
		if err != nil {
			return nil, err
		}
		if c != target {
			all[c+" attributes"] = string(buf[:n])
		}
	}
	return all, nil
}

// varies reports whether a file changes by itself.
func varies(name string) bool {
	return strings.HasPrefix(name, "cgroup.procs") || strings.HasPrefix(name, "cgroup.threads") || strings.HasSuffix(name, ".pressure") ||
		strings.HasSuffix(name, ".peak") || slices.Contains([]string{"memory.current", "memory.stat", "cgroup.events", "memory.reclaim"}, name)
}

// remember keeps the settings for untouched.
func (a *arena) remember() (err error) {
	a.before, err = a.settings()
	return err
}

// untouched names the first setting that is not as it was.
func (a *arena) untouched() (string, error) {
	now, err := a.settings()
	if err != nil {
		return "", err
	}
	for _, key := range slices.Sorted(maps.Keys(a.before)) {
		if now[key] != a.before[key] {
			return fmt.Sprintf("%s was %q and is %q", key, a.before[key], now[key]), nil
		}
	}
	return "", nil
}
