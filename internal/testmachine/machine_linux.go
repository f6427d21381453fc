// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package testmachine

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Where the kernel's type information is.
const (
	btfDirectory = "/sys/kernel/btf"
	btfKernel    = btfDirectory + "/vmlinux"
)

// nobody is a user without privilege.
const nobody = 65534

// Machine is another machine.
type Machine struct {
	unprivileged bool
	// enter makes the machine of which the child is a part.
	enter func(scratch string) error
}

// WithoutPrivilege has everything, but not for this process: it runs as nobody.
func WithoutPrivilege() Machine { return Machine{unprivileged: true} }

// WithoutBTF has no type information of the kernel.
func WithoutBTF() Machine {
	return Machine{enter: func(scratch string) error {
		return unix.Mount(scratch, btfDirectory, "", unix.MS_BIND, "")
	}}
}

// WithBTF has a kernel whose types are said to be different.
func WithBTF(changes ...Change) Machine {
	return Machine{enter: func(scratch string) error {
		types, err := parseBTF(btfKernel)
		if err != nil {
			return err
		}
		for _, change := range changes {
			if err := change(types); err != nil {
				return err
			}
		}
		path := filepath.Join(scratch, "vmlinux")
		if err := os.WriteFile(path, types.bytes(), 0o600); err != nil {
			return err
		}
		return unix.Mount(path, btfKernel, "", unix.MS_BIND, "")
	}}
}

// inside tells the child what it is.
const inside = "REFLEX_TEST_MACHINE"

// Inside says that this is the other machine.
func Inside() bool { return os.Getenv(inside) != "" }

// Run runs the test t again on another machine. It returns true there, and false
// here once the test has run there; it fails here if it fails there. It skips
// where the other machine cannot be made, unless the environment says that it
// must be (REFLEX_REQUIRE_BPF).
func Run(t *testing.T, m Machine) bool {
	t.Helper()
	if scratch := os.Getenv(inside); scratch != "" {
		if m.enter != nil {
			if err := m.enter(scratch); err != nil {
				t.Fatalf("make the machine: %v", err)
			}
		}
		return true
	}
	root, must := os.Geteuid() == 0, os.Getenv("REFLEX_REQUIRE_BPF") == "1"
	if _, err := os.Stat(btfKernel); m.enter != nil && !must && (!root || err != nil) {
		t.Skip("needs root, and a kernel with BTF")
	}
	command := exec.Command("/proc/self/exe", "-test.run="+pattern(t.Name()), "-test.v", "-test.count=1")
	command.Env = append(os.Environ(), inside+"="+t.TempDir())
	switch {
	case m.enter != nil:
		command.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
	case m.unprivileged && root:
		command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		command.Dir = "/"
	}
	out, err := command.CombinedOutput()
	switch text := string(out); {
	case errors.Is(err, os.ErrPermission) && !must: // root of a container
		t.Skipf("needs CAP_SYS_ADMIN: %v", err)
	case err != nil:
		t.Fatalf("on the other machine: %v\n%s", err, text)
	case strings.Contains(text, "--- SKIP: "+t.Name()):
		t.Skipf("on the other machine:\n%s", text)
	case !strings.Contains(text, "--- PASS: "+t.Name()):
		t.Fatalf("the test did not run on the other machine:\n%s", text)
	}
	return false
}

// pattern matches one test and nothing else.
func pattern(name string) string {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		parts[i] = fmt.Sprintf("^%s$", regexp.QuoteMeta(part))
	}
	return strings.Join(parts, "/")
}
