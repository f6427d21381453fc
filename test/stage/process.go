// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/otelcol-reflex/reflex/test/demo/workload"
)

// Process is a program that a test started in a cgroup of its own.
type Process struct {
	Name  string
	Group *Cgroup
	Stdin io.WriteCloser
	Lines chan string // what it prints, line by line

	Ended   chan struct{} // closed when it has exited; then:
	EndedAt int64         // CLOCK_BOOTTIME, ns
	Signal  syscall.Signal

	cmd *exec.Cmd
}

// Start runs argv in group. What it writes to standard error goes to a file in
// logs.
func Start(name string, group *Cgroup, logs string, env []string, argv ...string) (*Process, error) {
	dir, err := os.Open(group.Dir)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	log, err := os.Create(filepath.Join(logs, name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()

	p := &Process{Name: name, Group: group, Lines: make(chan string, 256), Ended: make(chan struct{})}
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stderr = log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	if p.Stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go p.watch(stdout)
	return p, nil
}

func (p *Process) watch(stdout io.Reader) {
	scan := bufio.NewScanner(stdout)
	for scan.Scan() {
		select {
		case p.Lines <- scan.Text():
		default: // nobody listens; the process must not wait for us
		}
	}
	close(p.Lines)
	var exit *exec.ExitError
	err := p.cmd.Wait()
	p.EndedAt = workload.Now()
	if errors.As(err, &exit) {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			p.Signal = status.Signal()
		}
	}
	close(p.Ended)
}

// Alive reports whether the process has not exited.
func (p *Process) Alive() bool {
	select {
	case <-p.Ended:
		return false
	default:
		return true
	}
}

// Await returns the rest of the first line that starts with prefix.
func (p *Process) Await(prefix string, patience time.Duration) (string, error) {
	timeout := time.After(patience)
	for {
		select {
		case line, ok := <-p.Lines:
			if !ok {
				return "", fmt.Errorf("%s ended before it was ready; see %s.log", p.Name, p.Name)
			}
			if rest, found := strings.CutPrefix(line, prefix); found {
				return rest, nil
			}
		case <-timeout:
			return "", fmt.Errorf("%s was not ready within %v", p.Name, patience)
		}
	}
}

// Stop asks the process to end, and after patience makes it. It reports whether
// asking was enough.
func (p *Process) Stop(patience time.Duration) bool {
	if !p.Alive() {
		return true
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.Ended:
		return true
	case <-time.After(patience):
	}
	// What it started holds its standard output, and must end with it.
	if p.Group.Write("cgroup.kill", "1") != nil {
		_ = p.cmd.Process.Kill()
	}
	<-p.Ended
	return false
}
