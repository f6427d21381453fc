// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build faultpoints

package faultpoint

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

var (
	file = os.Getenv(Control)

	mu     sync.Mutex
	armed  string // the content of the file when passed was counted
	passed int
)

// Pass stops this process if the file says so.
func Pass(step string) {
	if file == "" {
		return
	}
	mu.Lock()
	defer mu.Unlock()
	text, err := os.ReadFile(file)
	if err != nil {
		return
	}
	line, rest, _ := strings.Cut(string(text), "\n")
	f, ok := parse(line)
	if !ok || f.step != step {
		return
	}
	if armed != string(text) {
		armed, passed = string(text), 0
	}
	if passed++; passed < f.nth || os.Rename(file, file+".fired") != nil {
		return // or another process was first
	}
	if rest != "" && os.WriteFile(file+".next", []byte(rest), 0o600) == nil {
		_ = os.Rename(file+".next", file)
	}
	// To this thread: a signal to the process may be taken by another one, and
	// this one would go on for a moment.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_ = unix.Tgkill(unix.Getpid(), unix.Gettid(), unix.SignalNum("SIG"+f.signal))
}

type fault struct {
	signal, step string
	nth          int
}

// parse reads "SIGNAL N STEP", with " #" and anything behind it.
func parse(line string) (f fault, ok bool) {
	line, _, _ = strings.Cut(line, " #")
	fields := strings.SplitN(line, " ", 3)
	if len(fields) != 3 {
		return f, false
	}
	nth, err := strconv.Atoi(fields[1])
	return fault{fields[0], fields[2], nth}, err == nil && nth > 0
}
