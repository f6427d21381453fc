// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Process is a process in a cgroup of its own, whose output is an artefact.
type Process struct {
	Name  string
	Log   string // path of its output
	cmd   *exec.Cmd
	ended chan struct{}
}

// Start starts argv in the cgroup, with env added to ours. The process is killed
// when the test ends.
func Start(t testing.TB, name string, c Cgroup, env []string, argv ...string) *Process {
	t.Helper()
	return StartAs(t, name, c, User{}, env, argv...)
}

// User is who runs a process: root with all capabilities, or somebody else with
// those named.
type User struct {
	ID           uint32
	Capabilities []uintptr
}

// StartAs is Start as another user.
func StartAs(t testing.TB, name string, c Cgroup, user User, env []string, argv ...string) *Process {
	t.Helper()
	logs := filepath.Join("/out", strings.ReplaceAll(t.Name(), "/", "-"))
	if err := os.MkdirAll(logs, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(logs, name+".log")
	log, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	dir, err := os.Open(c.Dir())
	if err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	defer dir.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd()), Setsid: true}
	if user.ID != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: user.ID, Gid: user.ID}
		cmd.SysProcAttr.AmbientCaps = user.Capabilities
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	p := &Process{Name: name, Log: path, cmd: cmd, ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of %s's output:\n%s", name, p.Tail(40))
		}
		p.Kill(t)
	})
	return p
}

// PID returns the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends a signal.
func (p *Process) Signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatalf("signal %s: %v", p.Name, err)
	}
}

// Kill sends SIGKILL and waits for the end. It may be called again.
func (p *Process) Kill(t testing.TB) {
	t.Helper()
	p.Signal(t, syscall.SIGKILL)
	select {
	case <-p.ended:
	case <-time.After(30 * time.Second):
		t.Errorf("%s did not die of SIGKILL", p.Name)
	}
}

// Stop sends SIGTERM and waits for the end.
func (p *Process) Stop(t testing.TB) {
	t.Helper()
	p.Signal(t, syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(30 * time.Second):
		t.Fatalf("%s did not end", p.Name)
	}
}

// Ended returns a channel that is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// ExitCode returns the exit code of an ended process.
func (p *Process) ExitCode() int { return p.cmd.ProcessState.ExitCode() }

// Output returns everything the process wrote.
func (p *Process) Output() string {
	text, err := os.ReadFile(p.Log)
	if err != nil {
		return fmt.Sprint(err)
	}
	return string(text)
}

// Tail returns the last n lines the process wrote.
func (p *Process) Tail(n int) string {
	lines := strings.Split(strings.TrimSpace(p.Output()), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// Children returns the ids of the process's children.
func (p *Process) Children(t testing.TB) []int {
	t.Helper()
	// Each thread lists the children that it forked itself.
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", p.PID()))
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("list the children of %s: %v", p.Name, err)
		}
		for _, field := range strings.Fields(string(text)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}
