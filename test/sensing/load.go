// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package sensing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The loads.
const (
	loadScheduler  = "scheduler"
	loadSystemCall = "system call"
	loadNetwork    = "network"
	loadCompile    = "compile"
)

// Work is what a load did, as it tells on its standard output.
type Work struct {
	Operations float64 `json:"operations"`
	Seconds    float64 `json:"seconds"`
	// cpu is the CPU time of its processes, in seconds.
	cpu float64
}

// rate is in operations a second.
func (w Work) rate() float64 { return w.Operations / w.Seconds }

// economy is in operations a second of CPU time.
func (w Work) economy() float64 { return w.Operations / w.cpu }

// load is one load that can be made again and again.
type load struct {
	name, unit, how string
	run             func(ctx context.Context) (Work, error)
}

// Role is what this program does as a load of its own, in a process of its own:
// "system-call" or "network" for some time.
func Role(name string, span time.Duration) error {
	roles := map[string]func(time.Duration) (Work, error){"system-call": systemCalls, "network": network}
	role, ok := roles[name]
	if !ok {
		return fmt.Errorf("there is no load %q", name)
	}
	work, err := role(span)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(work)
}

// ownRole runs this program as a load, in a cgroup v2 directory unless that is "".
func ownRole(ctx context.Context, name string, span time.Duration, cgroup string) (Work, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*span+time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, "/proc/self/exe", "load", name, span.String())
	command.SysProcAttr = &syscall.SysProcAttr{}
	if cgroup != "" {
		directory, err := os.Open(cgroup)
		if err != nil {
			return Work{}, err
		}
		defer directory.Close()
		command.SysProcAttr.UseCgroupFD, command.SysProcAttr.CgroupFD = true, int(directory.Fd())
	}
	out, cpu, err := output(command)
	if err != nil {
		return Work{}, err
	}
	w := Work{cpu: cpu}
	if err := json.Unmarshal(out, &w); err != nil {
		return w, fmt.Errorf("load %s: %w", name, err)
	}
	return w, nil
}

// output runs a command and returns what it wrote to its standard output, and
// the CPU time, in seconds, of it and of the processes it waited for. A command
// whose time is over takes the processes it has started with it: they would hold
// its output open.
func output(command *exec.Cmd) ([]byte, float64, error) {
	if command.SysProcAttr == nil {
		command.SysProcAttr = &syscall.SysProcAttr{}
	}
	command.SysProcAttr.Setpgid = true
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGKILL) }
	command.WaitDelay = 5 * time.Second
	out, err := command.Output()
	if err != nil {
		return nil, 0, explained(command.String(), err)
	}
	return out, (command.ProcessState.UserTime() + command.ProcessState.SystemTime()).Seconds(), nil
}

// explained adds what a command wrote to its standard error.
func explained(what string, err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return fmt.Errorf("%s: %w: %s", what, err, exit.Stderr)
	}
	return fmt.Errorf("%s: %w", what, err)
}

// systemCalls asks for the parent's id as often as it can, on one CPU.
func systemCalls(span time.Duration) (Work, error) {
	runtime.LockOSThread()
	start, n := time.Now(), 0
	for time.Since(start) < span {
		for range 10_000 {
			_, _, _ = unix.RawSyscall(unix.SYS_GETPPID, 0, 0, 0)
		}
		n += 10_000
	}
	return Work{Operations: float64(n), Seconds: time.Since(start).Seconds()}, nil
}

const (
	connections = 8
	messageSize = 64
)

// network lets clients ask a server over loopback TCP, each as soon as it has
// its answer.
func network(span time.Duration) (Work, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return Work{}, err
	}
	defer listener.Close() //nolint:errcheck // everybody has been answered
	go serve(listener)
	var answers atomic.Uint64
	var wg sync.WaitGroup
	failed := make(chan error, connections)
	start := time.Now()
	for range connections {
		wg.Go(func() {
			if err := ask(listener.Addr().String(), start.Add(span), &answers); err != nil {
				failed <- err
			}
		})
	}
	wg.Wait()
	seconds := time.Since(start).Seconds()
	select {
	case err := <-failed:
		return Work{}, err
	default:
		return Work{Operations: float64(answers.Load()), Seconds: seconds}, nil
	}
}

// serve sends back what it is sent.
func serve(listener net.Listener) {
	for {
		c, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			var message [messageSize]byte
			for {
				n, err := c.Read(message[:])
				if err != nil {
					return
				}
				if _, err := c.Write(message[:n]); err != nil {
					return
				}
			}
		}()
	}
}

func ask(address string, end time.Time, answers *atomic.Uint64) error {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	var message [messageSize]byte
	for time.Now().Before(end) {
		if _, err := c.Write(message[:]); err != nil {
			return err
		}
		for got := 0; got < messageSize; {
			n, err := c.Read(message[:])
			if err != nil {
				return err
			}
			got += n
		}
		answers.Add(1)
	}
	return nil
}

// pipes is perf's ping-pong of two processes over pipes. Both are kept on one
// CPU, so that every message is a context switch and none depends on where the
// scheduler happens to put them.
func pipes(ctx context.Context, loops int) (Work, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	perf, err := lookPath("perf")
	if err != nil {
		return Work{}, err
	}
	var out []byte
	cpu, err := onOneCPU(func() (cpu float64, err error) {
		out, cpu, err = output(exec.CommandContext(ctx, perf, "bench", "--format", "simple", "sched", "pipe", "--loop", strconv.Itoa(loops)))
		return cpu, err
	})
	if err != nil {
		return Work{}, err
	}
	w, err := parsePipes(loops, string(out))
	w.cpu = cpu
	return w, err
}

// parsePipes reads the one number of perf's simple format: seconds.
func parsePipes(loops int, out string) (Work, error) {
	seconds, err := strconv.ParseFloat(strings.TrimSpace(out), 64)
	if err != nil || seconds <= 0 {
		return Work{}, fmt.Errorf("perf bench said %q instead of seconds", out)
	}
	return Work{Operations: float64(loops), Seconds: seconds}, nil
}

// onOneCPU lets what f starts run on the first allowed CPU only.
func onOneCPU[T any](f func() (T, error)) (T, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var allowed, one unix.CPUSet
	var none T
	if err := unix.SchedGetaffinity(0, &allowed); err != nil {
		return none, fmt.Errorf("ask for the CPUs allowed: %w", err)
	}
	for cpu := range len(allowed) * 64 {
		if allowed.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return none, fmt.Errorf("keep a load on one CPU: %w", err)
	}
	defer unix.SchedSetaffinity(0, &allowed) //nolint:errcheck // it was allowed before
	return f()
}

// compile builds a package of the standard library and all it needs from nothing.
func compile(ctx context.Context, target string) (Work, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	goTool, err := lookPath("go")
	if err != nil {
		return Work{}, err
	}
	cache, err := os.MkdirTemp("", "reflex-bench-")
	if err != nil {
		return Work{}, err
	}
	defer os.RemoveAll(cache)
	build := exec.CommandContext(ctx, goTool, "build", target)
	build.Dir = cache
	build.Env = append(os.Environ(), "GOCACHE="+cache, "GOFLAGS=", "GOWORK=off", "CGO_ENABLED=0", "GOTOOLCHAIN=local")
	start := time.Now()
	_, cpu, err := output(build)
	return Work{Operations: 1, Seconds: time.Since(start).Seconds(), cpu: cpu}, err
}

func lookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("find %s: %w", name, err)
	}
	return path, nil
}
