// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/otelcol-reflex/reflex/test/vmtest/internal/wire"
)

// stopped is the exit code of a command that the host stopped, as timeout(1) has it.
const stopped = 124

// run runs the command in a session of its own, copies its output and returns
// its exit code, 128 + n after signal n. Whatever it left running is killed.
func run(config wire.Config, output io.Writer, stop <-chan struct{}) (int, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	environment := append([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/", "HOME=/tmp", "TMPDIR=/tmp"}, config.Env...)
	pid, err := syscall.ForkExec(config.Command[0], config.Command, &syscall.ProcAttr{
		Dir: "/tmp", Env: environment,
		Files: []uintptr{null.Fd(), w.Fd(), w.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	_ = w.Close()
	if err != nil {
		return 0, fmt.Errorf("run %s: %w", config.Command[0], err)
	}
	copied := make(chan error, 1)
	go func() {
		_, err := io.CopyBuffer(onlyWriter{output}, onlyReader{r}, make([]byte, 32<<10))
		copied <- err
	}()
	ended := make(chan syscall.WaitStatus, 1)
	go reap(pid, ended)
	var status syscall.WaitStatus
	told := false
	select {
	case status = <-ended:
	case <-stop:
		// A Go program answers SIGQUIT with the stacks of its goroutines.
		told = true
		_ = syscall.Kill(-pid, syscall.SIGQUIT)
		select {
		case status = <-ended:
		case <-time.After(2 * time.Second):
			_ = syscall.Kill(-pid, syscall.SIGKILL)
			status = <-ended
		}
	}
	_ = syscall.Kill(-1, syscall.SIGKILL) // everybody but this process
	if err := <-copied; err != nil {
		return 0, fmt.Errorf("copy the output: %w", err)
	}
	switch {
	case told:
		return stopped, nil
	case status.Signaled():
		return 128 + int(status.Signal()), nil
	}
	return status.ExitStatus(), nil
}

// reap waits for all children for ever, as process 1 must, and reports pid's end.
func reap(pid int, ended chan<- syscall.WaitStatus) {
	for {
		var status syscall.WaitStatus
		got, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case got == pid:
			ended <- status
		case errors.Is(err, syscall.ECHILD):
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// onlyWriter and onlyReader hide other methods, so that io.Copy uses the buffer.
type (
	onlyWriter struct{ io.Writer }
	onlyReader struct{ io.Reader }
)
