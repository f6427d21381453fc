// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

func TestProtectedByPath(t *testing.T) {
	for path, protected := range map[string]bool{
		"/system.slice":                                 true,
		"/user.slice/user-1000.slice":                   true,
		"/init.scope":                                   true,
		"/system.slice/ssh.service":                     true,
		"/system.slice/sshd@3-10.0.0.1:22.service":      true,
		"/system.slice/containerd.service":              true,
		"/system.slice/docker.service/init":             true,
		"/system.slice/kubelet.service":                 true,
		"/system.slice/systemd-journald.service":        true,
		"/system.slice/systemd-udevd.service/udev":      true,
		"/system.slice/dbus-broker.service":             true,
		"/system.slice/reflexguard.service":             true,
		"/system.slice/ceph-osd@3.service":              true,
		"/user.slice/user-1000.slice/user@1000.service": true,
		"/user.slice/u/user@1000.service/init.scope":    true,
		"/kubepods":                     true,
		"/kubepods/burstable":           true,
		"/docker":                       true,
		"/extra-db/main":                true,
		"/batch/keep/below":             true,
		"/system.slice/payment.service": false,
		"/system.slice/docker-0123456789abcdef.scope":     false,
		"/docker/0123456789abcdef":                        false,
		"/kubelet/kubepods/burstable/pod1/c1":             false,
		"/kubepods.slice/kubepods-pod1.slice/cri-1.scope": false,
		"/user.slice/u/user@1000.service/app.slice/x":     false,
		"/batch/keeper": false,
	} {
		t.Run(path, func(t *testing.T) {
			m := newMachine(t)
			m.change = func(c *Config) { c.Protect = []string{"extra-*", "/batch/keep"} }
			id := m.cgroup(t, path)
			out := act(t, m.guard(t), hold(id, 130*mib))
			want := arc.VerdictGranted
			if protected {
				want = arc.VerdictRefused
			}
			assert.Equal(t, want, out.Verdict, out.Cause)
		})
	}
}

func TestWhatHoldsSomethingProtectedIsNeverTouched(t *testing.T) {
	m := newMachine(t)
	id, free := m.cgroup(t, "machine/box"), m.cgroup(t, "machine/box/payload")
	m.cgroup(t, "machine/box/system/containerd.service")
	g := m.guard(t)
	out := act(t, g, hold(id, 130*mib))
	assert.Equal(t, arc.VerdictRefused, out.Verdict)
	assert.Contains(t, out.Cause, "containerd.service")
	assert.Equal(t, arc.VerdictGranted, act(t, g, hold(free, 130*mib)).Verdict)
}

func TestTheRootIsNeverTouched(t *testing.T) {
	m := newMachine(t)
	id := m.cgroup(t, "/")
	out := act(t, m.guard(t), hold(id, 130*mib))
	assert.Equal(t, arc.VerdictRefused, out.Verdict)
	assert.Equal(t, arc.Unlimited, m.high(t, "/"))
}

func TestProtectedByProcess(t *testing.T) {
	for _, c := range []struct {
		name      string
		uid       int
		protected bool
	}{
		{"sshd-session", 0, true},
		{"containerd-shim", 0, true},
		{"kubelet", 0, true},
		{"calico-node", 0, true},
		{"systemd-journal", 0, true},
		{"reflexguard", 0, true},
		{"multipathd", 0, true},
		{"sshd", 1000, false},
		{"payment", 0, false},
		{"systemd", 0, false},
	} {
		for _, where := range []string{"a", "a/inner/most"} {
			t.Run(fmt.Sprintf("%s of uid %d in %s", c.name, c.uid, where), func(t *testing.T) {
				m := newMachine(t)
				id := m.cgroup(t, "a")
				m.cgroup(t, where)
				m.process(t, where, 4242, c.name, c.uid)
				out := act(t, m.guard(t), hold(id, 130*mib))
				want := arc.VerdictGranted
				if c.protected {
					want = arc.VerdictRefused
				}
				assert.Equal(t, want, out.Verdict, out.Cause)
			})
		}
	}
}

func TestTheGuardItsPeersAndAllTheirAncestorsAreNeverTouched(t *testing.T) {
	m := newMachine(t)
	top, middle, leaf := m.cgroup(t, "a"), m.cgroup(t, "a/b"), m.cgroup(t, "a/b/c")
	sibling := m.cgroup(t, "a/s")
	g := m.guard(t)
	forget := g.Protect(777)
	again := g.Protect(777)
	for _, pid := range []int{1, os.Getpid(), os.Getppid(), 777} {
		m.set(t, "a/b/c", "cgroup.procs", bytesOf(uint64(pid)))
		for _, id := range []uint64{top, middle, leaf} {
			assert.Equal(t, arc.VerdictRefused, act(t, g, hold(id, 130*mib)).Verdict, "process %d", pid)
		}
	}
	assert.Equal(t, arc.VerdictGranted, act(t, g, hold(sibling, 130*mib)).Verdict)
	forget()
	forget()
	assert.Equal(t, arc.VerdictRefused, act(t, g, hold(leaf, 130*mib)).Verdict, "connected twice, gone once")
	again()
	assert.Equal(t, arc.VerdictGranted, act(t, g, hold(leaf, 130*mib)).Verdict)

	m.set(t, "a/s", "cgroup.procs", "0")
	other := m.cgroup(t, "o")
	m.set(t, "o", "cgroup.procs", "0")
	out := act(t, g, hold(other, 130*mib))
	assert.Equal(t, arc.VerdictRefused, out.Verdict, "who cannot be seen cannot be judged")
	assert.Contains(t, out.Cause, "pid namespace")
}

// With hidepid a process that there is has no file.
func TestWhoIsHiddenIsNotJudged(t *testing.T) {
	m := newMachine(t)
	id := m.cgroup(t, "a")
	g := m.guard(t)
	m.set(t, "a", "cgroup.procs", "4194303")
	was := exists
	t.Cleanup(func() { exists = was })
	exists = func(int) bool { return true }
	out := act(t, g, hold(id, 130*mib))
	assert.Equal(t, arc.VerdictRefused, out.Verdict)
	assert.Contains(t, out.Cause, "hidepid")
	exists = was
	assert.Equal(t, arc.VerdictGranted, act(t, g, hold(id, 130*mib)).Verdict, "one that is gone is nobody")
}

func TestAHeldCgroupThatBecomesProtectedIsGivenBack(t *testing.T) {
	m := newMachine(t)
	id := m.cgroup(t, "a")
	g := m.guard(t)
	require.Equal(t, arc.VerdictGranted, act(t, g, hold(id, 130*mib)).Verdict)
	m.process(t, "a", 4242, "sshd", 0)
	m.advance(second)
	out := act(t, g, hold(id, 140*mib))
	assert.Equal(t, arc.VerdictRefused, out.Verdict)
	assert.Contains(t, out.Cause, "sshd")
	assert.Equal(t, arc.Unlimited, m.high(t, "a"))
	assert.Empty(t, m.record(id))
}

func TestCgroupsWithoutMemoryOfTheirOwnOrWithoutProcesses(t *testing.T) {
	for _, c := range []struct{ file, text, cause string }{
		{"cgroup.type", "threaded", "threaded"},
		{"cgroup.type", "domain invalid", "domain invalid"},
		{"cgroup.type", "domain threaded", ""},
		{"cgroup.events", "populated 0\nfrozen 0", "no process"},
	} {
		m := newMachine(t)
		id := m.cgroup(t, "a")
		m.set(t, "a", c.file, c.text)
		out := act(t, m.guard(t), hold(id, 130*mib))
		if c.cause == "" {
			assert.Equal(t, arc.VerdictGranted, out.Verdict, out.Cause)
			continue
		}
		assert.Equal(t, arc.VerdictRefused, out.Verdict)
		assert.Contains(t, out.Cause, c.cause)
	}
}
