// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// roleEnv makes the test binary play a process of a scenario instead of running
// tests.
const roleEnv = "REFLEX_E2E_ROLE"

// thenEnv is the role of the program that the role "without" becomes, if it is
// this one.
const thenEnv = "REFLEX_E2E_THEN"

// Role is the variable of the environment that makes this test binary play a role.
func Role(name string) string { return roleEnv + "=" + name }

// PlayRole runs the role named by the environment and does not return if there
// is one.
func PlayRole() {
	role, argument, _ := strings.Cut(os.Getenv(roleEnv), ":")
	var err error
	switch role {
	case "":
		return
	case "leaker":
		err = leak(argument)
	case "neighbour":
		neighbour()
	case "spinner":
		spin()
	case "without":
		err = without(argument)
	case "hiding":
		err = hiding(argument)
	case "legacy":
		err = legacy(argument)
	case "show":
		err = show()
	default:
		err = fmt.Errorf("unknown role %q", role)
	}
	fmt.Fprintln(os.Stderr, "role", role, "ended:", err)
	os.Exit(1)
}

const (
	// leakRate is what the leaker takes a second once it leaks.
	leakRate = 50_000_000
	// leakStep is how often it takes a piece.
	leakStep = 10 * time.Millisecond
	// leakTime bounds a leak, whatever the scenario does.
	leakTime = 90 * time.Second
)

// leak holds and touches memory of the size of a small service, works a little, and
// from SIGUSR1 on leaks at leakRate until it has taken as many bytes as the
// argument says; then it keeps them.
func leak(argument string) error {
	limit, err := strconv.Atoi(argument)
	if err != nil {
		return err
	}
	debug.SetGCPercent(-1)
	begin := make(chan os.Signal, 1)
	signal.Notify(begin, syscall.SIGUSR1)
	resident, err := take(64 << 20)
	if err != nil {
		return err
	}
	ticker := time.NewTicker(leakStep)
	defer ticker.Stop()
	var began time.Time
	taken := 0
	for now := range ticker.C {
		select {
		case <-begin:
			began = now
		default:
		}
		touch(resident[:1<<20]) // a little work, the same all the time
		if began.IsZero() || now.Sub(began) > leakTime {
			continue
		}
		for due := min(int(now.Sub(began).Seconds()*leakRate), limit); taken < due; {
			piece, err := take(min(due-taken, 512<<10))
			if err != nil {
				return err
			}
			taken += len(piece)
		}
	}
	return nil
}

// take maps n bytes, touches every page and never gives them back.
func take(n int) ([]byte, error) {
	b, err := syscall.Mmap(-1, 0, n, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("map %d bytes: %w", n, err)
	}
	touch(b)
	return b, nil
}

// spin uses a CPU for ever.
func spin() {
	b := make([]byte, 4096)
	for {
		touch(b)
	}
}

func touch(b []byte) {
	for i := 0; i < len(b); i += 4096 {
		b[i]++
	}
}

// neighbour holds some memory and works a little, for ever.
func neighbour() {
	b, err := take(32 << 20)
	if err != nil {
		return
	}
	for range time.Tick(leakStep) {
		touch(b[:1<<20])
	}
}

// without drops the capability whose number is the first part of the argument from
// the bounding set, and becomes the program that is the rest.
func without(argument string) error {
	number, program, _ := strings.Cut(argument, ":")
	capability, err := strconv.Atoi(number)
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_CAPBSET_DROP, uintptr(capability), 0); errno != 0 {
		return fmt.Errorf("drop capability %d: %w", capability, errno)
	}
	// Root's capabilities after an exec are those of the bounding set.
	return become(program)
}

// hiding becomes the program that is the second part of the argument, in a mount
// namespace where the directory that is the first part is empty.
func hiding(argument string) error {
	dir, program, _ := strings.Cut(argument, ":")
	runtime.LockOSThread()
	if err := syscall.Unshare(syscall.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare mounts: %w", err)
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	// A mount of its own goes away; a directory of another one is covered.
	if syscall.Unmount(dir, syscall.MNT_DETACH) != nil {
		if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_RDONLY, ""); err != nil {
			return fmt.Errorf("cover %s: %w", dir, err)
		}
	}
	return become(program)
}

// legacy becomes the program that is the second part of the argument, in a mount
// namespace where cgroups are mounted as the first part says: "hybrid", v2 without
// controllers beside v1, as systemd does where it is told to, or "v1", without v2.
// No controller may be in use in v2.
func legacy(argument string) error {
	kind, program, _ := strings.Cut(argument, ":")
	runtime.LockOSThread()
	if err := syscall.Unshare(syscall.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare mounts: %w", err)
	}
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := syscall.Unmount(Root, syscall.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount %s: %w", Root, err)
	}
	mount := func(fs, dir, options string) error {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := syscall.Mount(fs, dir, fs, 0, options); err != nil {
			return fmt.Errorf("mount %s on %s: %w", fs, dir, err)
		}
		return nil
	}
	err := mount("tmpfs", Root, "mode=0755")
	for _, controller := range []string{"memory", "cpu", "pids", "blkio"} {
		err = errors.Join(err, mount("cgroup", Root+"/"+controller, controller))
	}
	if kind == "hybrid" {
		err = errors.Join(err, mount("cgroup2", Root+"/unified", ""))
	}
	if err != nil {
		return err
	}
	return become(program)
}

// become executes a command line without quotes in place of this process.
func become(program string) error {
	if err := os.Setenv(roleEnv, os.Getenv(thenEnv)); err != nil {
		return err
	}
	argv := strings.Split(program, " ")
	return syscall.Exec(argv[0], argv, os.Environ())
}

// show prints what the kernel knows of the process.
func show() error {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	if _, err := os.Stdout.Write(status); err != nil {
		return err
	}
	os.Exit(0)
	return nil
}
