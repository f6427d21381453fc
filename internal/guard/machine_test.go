// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

const (
	mib    = uint64(1 << 20)
	second = int64(1e9)
)

// machine is a fake cgroup v2 tree, clock and procfs that outlives guards.
type machine struct {
	dir, kill, procs string
	attrs            *cgroupfs.Memory
	clock            atomic.Int64
	writing          sync.Mutex
	change           func(*Config)
}

func newMachine(tb testing.TB) *machine {
	tb.Helper()
	top := tb.TempDir()
	m := &machine{dir: filepath.Join(top, "cgroup"), kill: filepath.Join(top, "off"), procs: filepath.Join(top, "proc"), attrs: &cgroupfs.Memory{}}
	m.clock.Store(1000 * second)
	require.NoError(tb, os.MkdirAll(m.dir, 0o755))
	require.NoError(tb, os.MkdirAll(m.procs, 0o755))
	return m
}

// cgroup makes a cgroup that uses 100 MiB, 60 of them anonymous, without limits
// on memory.
func (m *machine) cgroup(tb testing.TB, path string) uint64 {
	tb.Helper()
	require.NoError(tb, os.MkdirAll(filepath.Join(m.dir, path), 0o755))
	for file, text := range unlimited {
		m.set(tb, path, file, text)
	}
	m.set(tb, path, "memory.current", bytesOf(100*mib))
	m.set(tb, path, "memory.stat", "anon "+bytesOf(60*mib)+"\nfile "+bytesOf(30*mib)+"\nkernel "+bytesOf(10*mib)+"\nshmem 0\nslab_reclaimable "+bytesOf(5*mib)+"\nunevictable 0\n")
	var id uint64
	r, err := cgroupfs.OpenRoot(m.dir)
	require.NoError(tb, err)
	defer r.Close()
	d, err := r.OpenPath(path)
	require.NoError(tb, err)
	id = d.ID()
	d.Close()
	return id
}

func (m *machine) set(tb testing.TB, path, file, text string) {
	tb.Helper()
	require.NoError(tb, os.WriteFile(filepath.Join(m.dir, path, file), []byte(text+"\n"), 0o644))
}

func (m *machine) high(tb testing.TB, path string) uint64 {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join(m.dir, path, "memory.high"))
	require.NoError(tb, err)
	v, ok := cgroupfs.ParseUint(text)
	require.True(tb, ok, "memory.high is %q", text)
	return v
}

// process puts a process with a name and uid into a cgroup.
func (m *machine) process(tb testing.TB, path string, pid int, name string, uid int) {
	tb.Helper()
	m.set(tb, path, "cgroup.procs", strconv.Itoa(pid))
	dir := filepath.Join(m.procs, strconv.Itoa(pid))
	require.NoError(tb, os.MkdirAll(dir, 0o755))
	ids := strings.Repeat("\t"+strconv.Itoa(uid), 4)
	require.NoError(tb, os.WriteFile(filepath.Join(dir, "status"), []byte("Name:\t"+name+"\nUmask:\t0022\nUid:"+ids+"\n"), 0o644))
}

func (m *machine) now() int64      { return m.clock.Load() }
func (m *machine) advance(d int64) { m.clock.Add(d) }
func (m *machine) config() Config {
	c := Config{Root: m.dir, KillSwitch: m.kill, Attributes: m.attrs, Writes: m.write, Clock: m.now, BootID: "this-boot"}
	if m.change != nil {
		m.change(&c)
	}
	return c
}

// guard starts a guard; with what a former one left given back. It is taken to have
// been there for ever: tests count generations from 1.
func (m *machine) guard(tb testing.TB) *Guard {
	tb.Helper()
	g, err := New(m.config())
	require.NoError(tb, err)
	g.since(-ahead)
	g.safe.procs = m.procs
	tb.Cleanup(func() { g.Close() })
	return g
}

// attribute returns what a cgroup carries under a name, "" for nothing.
func (m *machine) attribute(id uint64, name string) string {
	v, err := m.attrs.Get(0, id, name)
	if err != nil {
		return ""
	}
	return string(v)
}

func (m *machine) record(id uint64) string { return m.attribute(id, recordName(arc.ActionMemoryHigh)) }

// decode decodes a record of memory.high.
func decode(text string) (record, error) {
	return decodeRecord(newKnobs()[arc.ActionMemoryHigh], []byte(text))
}

func bytesOf(v uint64) string { return strconv.FormatUint(v, 10) }

func hold(id, ceiling uint64) arc.Order {
	return arc.Order{Cgroup: id, Action: arc.ActionMemoryHigh, Parameter: ceiling, TTL: 15 * second, Generation: 1, Reason: "it grows"}
}

// later is the order of a lease decided after another one.
func later(o arc.Order, by uint64) arc.Order {
	o.Generation += by
	return o
}

func act(tb testing.TB, g *Guard, o arc.Order) arc.Outcome {
	tb.Helper()
	var out arc.Outcome
	require.NoError(tb, g.Act(tb.Context(), o, &out))
	return out
}

func releaseOf(id uint64) arc.Order {
	o := hold(id, 0)
	o.Verb = arc.Release
	return o
}
