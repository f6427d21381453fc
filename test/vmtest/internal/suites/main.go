// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Command suites runs several commands in a machine, one after the other, so that
// one boot serves them all. It reads them as JSON from the file it is given, and
// ends with the number of those that failed. One that fails keeps no other from
// running.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"
)

// suite is one command, with what is set in its environment besides.
type suite struct {
	Name    string
	Command []string
	Env     []string
}

func main() {
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		fatal(err)
	}
	var all []suite
	if err := json.Unmarshal(text, &all); err != nil {
		fatal(err)
	}
	failed := 0
	for _, s := range all {
		began := time.Now()
		code := s.run()
		// The host takes a line that begins so for the end of what a suite says.
		fmt.Printf("\nsuites: %s exits with %d after %.1f s\n", s.Name, code, time.Since(began).Seconds())
		if code != 0 {
			failed++
		}
	}
	os.Exit(failed)
}

// run returns the exit code, 255 if the command could not be run or was killed.
func (s suite) run() int {
	c := exec.Command(s.Command[0], s.Command[1:]...)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	c.Env = append(os.Environ(), s.Env...)
	err := c.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit) && exit.Exited():
		return exit.ExitCode()
	}
	fmt.Println("suites:", s.Name, err)
	return 255
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "suites:", err)
	os.Exit(99)
}
