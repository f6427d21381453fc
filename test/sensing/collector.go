// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package sensing

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// ready is what a collector logs when every component has started.
const ready = "Everything is ready"

const patience = 20 * time.Second

// collector is a running collector.
type collector struct {
	cmd *exec.Cmd
	dir string
	log *tail
}

// startCollector runs a collector with a configuration and waits until it says
// that it is ready.
func startCollector(ctx context.Context, binary, configuration string) (*collector, error) {
	dir, err := os.MkdirTemp("", "reflex-bench-")
	if err != nil {
		return nil, err
	}
	c := &collector{dir: dir, log: newTail()}
	config := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(config, []byte(configuration), 0o600); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	c.cmd = exec.Command(binary, "--config", config)
	c.cmd.Stderr = c.log
	// Not on an interrupt from the terminal: it is stopped by us.
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", binary, err), os.RemoveAll(dir))
	}
	if err := c.await(ctx); err != nil {
		return nil, errors.Join(err, c.stop())
	}
	return c, nil
}

func (c *collector) await(ctx context.Context) error {
	select {
	case <-c.log.ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(patience):
		return fmt.Errorf("the collector was not ready within %v: %s", patience, c.log)
	}
}

// stop asks the collector to end, and after a while makes it.
func (c *collector) stop() error {
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	end := time.AfterFunc(patience, func() { _ = c.cmd.Process.Kill() })
	defer end.Stop()
	err := c.cmd.Wait()
	if err != nil {
		err = fmt.Errorf("the collector ended with: %w: %s", err, c.log)
	}
	return errors.Join(err, os.RemoveAll(c.dir))
}

func (c *collector) pid() int { return c.cmd.Process.Pid }

// programs are the BPF programs the collector holds; none is an error, since
// there would be nothing to measure.
func (c *collector) programs() ([]ebpf.ProgramID, error) {
	ids, err := programsOf(c.pid())
	if err == nil && len(ids) == 0 {
		err = fmt.Errorf("the collector runs no BPF program: %s", c.log)
	}
	return ids, err
}

// processTime is the CPU time of a process, user and system, of all its threads.
// It is the clock behind utime and stime of /proc/PID/stat, which cuts it to
// hundredths of a second.
func processTime(pid int) (time.Duration, error) {
	var ts unix.Timespec
	const scheduled = 2 // CPUCLOCK_SCHED
	if err := unix.ClockGettime(int32(^pid<<3|scheduled), &ts); err != nil {
		return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// memory is what a process has in memory.
type memory struct{ resident, anonymous float64 } // MiB

func processMemory(pid int) (memory, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return memory{}, err
	}
	return parseRollup(text)
}

func parseRollup(text []byte) (memory, error) {
	found := map[string]float64{}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) == 3 && fields[2] == "kB" {
			kib, err := strconv.ParseFloat(fields[1], 64)
			if err == nil {
				found[fields[0]] = kib / 1024
			}
		}
	}
	m := memory{found["Rss:"], found["Anonymous:"]}
	if m.resident == 0 {
		return m, errors.New("smaps_rollup has no Rss")
	}
	return m, nil
}

// tail keeps the end of a log and notices when the collector is ready.
type tail struct {
	mu    sync.Mutex
	end   []byte
	seen  bool
	ready chan struct{}
}

// kept is how much of a log an error quotes.
const kept = 4096

var _ io.Writer = (*tail)(nil)

func newTail() *tail { return &tail{ready: make(chan struct{})} }

func (t *tail) Write(text []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.end = append(t.end, text...)
	if !t.seen && bytes.Contains(t.end, []byte(ready)) {
		t.seen = true
		close(t.ready)
	}
	if len(t.end) > kept {
		t.end = append([]byte(nil), t.end[len(t.end)-kept:]...)
	}
	return len(text), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.end)
}
