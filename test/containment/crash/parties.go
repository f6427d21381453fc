// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/otelcol-reflex/reflex/internal/faultpoint"
	"github.com/otelcol-reflex/reflex/internal/guard"
)

// restartAfter is how long a service manager waits before it starts a service
// again: systemd's RestartSec by default.
const restartAfter = 100 * time.Millisecond

// service is the supervisor with its guard, and whoever starts it again.
type service struct {
	arena  *arena
	binary string
	dir    string // of socket, kill switch and control file
	client *guard.Client
	log    *os.File

	mu      sync.Mutex
	current *exec.Cmd
	over    bool
	ended   sync.WaitGroup
}

func startService(a *arena, binary, dir string) (*service, error) {
	log, err := os.OpenFile(filepath.Join(dir, "guard.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	s := &service{arena: a, binary: binary, dir: dir, client: guard.Dial(filepath.Join(dir, "guard.sock")), log: log}
	return s, s.start()
}

// start starts the supervisor, and again whenever it has ended.
func (s *service) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return nil
	}
	cmd := exec.Command(s.binary, "supervise", "--socket="+filepath.Join(s.dir, "guard.sock"),
		"--cgroup-root="+s.arena.root, "--kill-switch="+filepath.Join(s.dir, "off"))
	cmd.Env = append(os.Environ(), faultpoint.Control+"="+s.control())
	cmd.Stdout, cmd.Stderr = s.log, s.log
	done, err := s.arena.in(cmd, "reflex/guard")
	if err != nil {
		return err
	}
	defer done()
	if err := cmd.Start(); err != nil {
		return err
	}
	s.current = cmd
	s.ended.Go(func() {
		_ = cmd.Wait()
		time.Sleep(restartAfter)
		if err := s.start(); err != nil {
			fmt.Fprintln(os.Stderr, "start the supervisor again:", err)
		}
	})
	return nil
}

func (s *service) control() string { return filepath.Join(s.dir, "fault") }

// supervisor returns the pid of the supervisor.
func (s *service) supervisor() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current.Process.Pid
}

// guard returns the pid of the guard, 0 while there is none.
func (s *service) guard() int {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", s.supervisor()))
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue
		}
		for _, field := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(field); err == nil {
				return pid
			}
		}
	}
	return 0
}

// await waits until the guard answers.
func (s *service) await(ctx context.Context) error {
	deadline := time.Now().Add(time.Minute) // it has half of that to get ready
	for {
		_, err := s.client.Status(ctx)
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the guard does not come back: %w", err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// stop ends the service for good.
func (s *service) stop() error {
	s.mu.Lock()
	s.over = true
	pid := s.current.Process.Pid
	s.mu.Unlock()
	_ = syscall.Kill(pid, syscall.SIGCONT)
	_ = syscall.Kill(pid, syscall.SIGTERM)
	s.ended.Wait()
	return errors.Join(s.client.Close(), s.log.Close())
}

// arm has whoever passes the steps next stop there, one line after the other.
func (s *service) arm(lines ...string) error {
	s.disarm()
	name := s.control() + ".new"
	if err := os.WriteFile(name, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		return err
	}
	return os.Rename(name, s.control())
}

func (s *service) disarm() {
	_ = os.Remove(s.control())
	_ = os.Remove(s.control() + ".fired")
}

// fired reports whether the last line armed was reached.
func (s *service) fired(line string) bool {
	text, err := os.ReadFile(s.control() + ".fired")
	return err == nil && string(text) == line
}

// collector is one process that gives orders.
type collector struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

// startCollector starts what program (with its first arguments) plays as told.
func startCollector(s *service, program []string, c Collector) (*collector, error) {
	args := append(append([]string{}, program[1:]...), "collector",
		"-socket", c.Socket, "-cgroup", strconv.FormatUint(c.Cgroup, 10), "-sent", c.Sent, "-ttl", c.TTL.String(), "-for", c.For.String(),
		"-rise="+strconv.FormatBool(c.Rise), "-release="+strconv.FormatBool(c.Release))
	cmd := exec.Command(program[0], args...)
	cmd.Env = append(os.Environ(), faultpoint.Control+"="+s.control())
	cmd.Stdout, cmd.Stderr = s.log, s.log
	done, err := s.arena.in(cmd, "reflex/collector")
	if err != nil {
		return nil, err
	}
	defer done()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &collector{cmd: cmd, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		_ = cmd.Wait()
	}()
	return p, nil
}

// stopped reports whether the process is there and stopped.
func stopped(pid int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(text), ") ")
	return strings.HasPrefix(state, "T")
}

func (p *collector) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

func (p *collector) pid() int { return p.cmd.Process.Pid }

// over reports whether it will give no more orders.
func (p *collector) over() bool {
	select {
	case <-p.ended:
		return true
	default:
		return stopped(p.pid())
	}
}
