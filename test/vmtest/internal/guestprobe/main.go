// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

// Command guestprobe is what package vmtest's own tests run in a machine: it
// does one thing, named by its first argument, and exits with the code given in
// the second. Called cat, it copies its input, for tests that need such a process.
package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

func main() {
	if filepath.Base(os.Args[0]) == "cat" {
		_, err := io.Copy(os.Stdout, os.Stdin)
		must(err)
		return
	}
	code, err := strconv.Atoi(os.Args[2])
	if err != nil {
		fatal(err)
	}
	switch os.Args[1] {
	case "describe":
		describe()
	case "flood":
		flood()
	case "hang":
		fmt.Println("hanging")
		time.Sleep(time.Hour)
	case "fault": // the kernel dies as after an exception that it did not expect
		must(os.WriteFile("/dev/kmsg", []byte("<0>Oops: 0000 [#1] for a test"), 0))
		fallthrough
	case "panic": // the kernel dies of its own will
		must(os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0))
		time.Sleep(time.Minute)
	}
	os.Exit(code)
}

// describe prints what a test wants to know about the machine, one "key: value"
// a line, and leaves artefacts.
func describe() {
	for key, path := range map[string]string{
		"release":     "/proc/sys/kernel/osrelease",
		"controllers": "/sys/fs/cgroup/cgroup.subtree_control",
		"lo":          "/sys/class/net/lo/operstate",
		"given":       "/data/given",
		"cgroup":      "/proc/self/cgroup",
	} {
		text, err := os.ReadFile(path)
		if err != nil {
			fatal(err)
		}
		fmt.Printf("%s: %s\n", key, bytes.TrimSpace(text))
	}
	fmt.Println("env:", os.Getenv("VMTEST_ENV"))
	// memory.high of a child proves that the controllers are really there.
	dir := "/sys/fs/cgroup/child"
	must(os.Mkdir(dir, 0o755))
	must(os.WriteFile(filepath.Join(dir, "memory.high"), []byte("104857600"), 0))
	high, err := os.ReadFile(filepath.Join(dir, "memory.high"))
	must(err)
	fmt.Printf("high: %s\n", bytes.TrimSpace(high))
	must(os.MkdirAll("/out/nested", 0o755))
	must(os.WriteFile("/out/nested/binary", binary(3<<20), 0o640))
}

// flood writes 8 MiB of every byte value to stdout.
func flood() {
	_, err := os.Stdout.Write(binary(8 << 20))
	must(err)
}

func binary(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return b
}

func must(err error) {
	if err != nil {
		fatal(err)
	}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "guestprobe:", err)
	os.Exit(99)
}
