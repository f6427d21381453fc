// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package scenario

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

// process is a program the scenario started in a cgroup of its own.
type process struct {
	name  string
	cmd   *exec.Cmd
	group *cgroup
	stdin io.WriteCloser
	lines chan string // what it prints, line by line

	ended   chan struct{} // closed when it has exited; then:
	endedAt int64         // CLOCK_BOOTTIME, ns
	signal  syscall.Signal
}

// start runs argv in group. What it writes to standard error goes to a file in
// logs.
func start(name string, group *cgroup, logs string, env []string, argv ...string) (*process, error) {
	dir, err := os.Open(group.dir)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	log, err := os.Create(filepath.Join(logs, name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()

	p := &process{name: name, group: group, lines: make(chan string, 256), ended: make(chan struct{})}
	p.cmd = exec.Command(argv[0], argv[1:]...)
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stderr = log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
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

func (p *process) watch(stdout io.Reader) {
	scan := bufio.NewScanner(stdout)
	for scan.Scan() {
		select {
		case p.lines <- scan.Text():
		default: // nobody listens; the process must not wait for us
		}
	}
	close(p.lines)
	var exit *exec.ExitError
	err := p.cmd.Wait()
	p.endedAt = workload.Now()
	if errors.As(err, &exit) {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			p.signal = status.Signal()
		}
	}
	close(p.ended)
}

// alive reports whether the process has not exited.
func (p *process) alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// await returns the rest of the first line that starts with prefix.
func (p *process) await(prefix string, patience time.Duration) (string, error) {
	timeout := time.After(patience)
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				return "", fmt.Errorf("%s ended before it was ready; see %s.log", p.name, p.name)
			}
			if rest, found := strings.CutPrefix(line, prefix); found {
				return rest, nil
			}
		case <-timeout:
			return "", fmt.Errorf("%s was not ready within %v", p.name, patience)
		}
	}
}

// stop asks the process to end, and after patience makes it. It reports whether
// asking was enough.
func (p *process) stop(patience time.Duration) bool {
	if !p.alive() {
		return true
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
		return true
	case <-time.After(patience):
	}
	// What it started holds its standard output, and must end with it.
	if p.group.write("cgroup.kill", "1") != nil {
		_ = p.cmd.Process.Kill()
	}
	<-p.ended
	return false
}
