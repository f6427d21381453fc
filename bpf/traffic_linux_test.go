// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

func openTrafficOf(tb testing.TB, root string) *Cgroups {
	tb.Helper()
	c, err := OpenCgroupsAndTraffic(root, 0)
	unable(tb, err)
	tb.Cleanup(func() { require.NoError(tb, c.Close()) })
	if c.traffic == nil || !c.traffic.packets || !c.traffic.opens {
		if mustRun() {
			tb.Fatalf("traffic is not counted: %+v", c.Missing())
		}
		tb.Skipf("traffic is not counted: %+v", c.Missing())
	}
	return c
}

// trafficOf sweeps and returns what is said of the cgroup at path.
func trafficOf(t testing.TB, c *Cgroups, path string) (counts trafficCounts) {
	t.Helper()
	var s arc.Sweep
	require.NoError(t, c.Sweep(&s))
	for k, f := range trafficFields {
		counts[k] = row(t, &s, path, f)
	}
	return counts
}

// The sockets of a process that has a network namespace of its own send what the
// namespace counts: exactly, byte by byte.
func TestTrafficIsWhatTheNamespaceCounts(t *testing.T) {
	for name, p := range map[string]plan{
		"datagrams":                {Datagrams: 500, Size: 1000},
		"connections":              {Connections: 20, Bytes: 1000},
		"bunches of many segments": {Connections: 2, Bytes: 4 << 20, MTU: 1500},
		"one after the other":      {Datagrams: 30, Size: 100, Connections: 3, Bytes: 100_000},
	} {
		t.Run(name, func(t *testing.T) {
			root := newTree(t)
			busy, idle := newCgroup(t, root, "busy"), newCgroup(t, root, "idle")
			c := openTrafficOf(t, root)
			assert.Zero(t, trafficOf(t, c, busy), "nothing yet, and that is known")
			s := startTraffic(t, busy, p).wait(t)
			got := trafficOf(t, c, busy)
			t.Logf("counted %v; the namespace: %+v", got, *s)
			assert.Equal(t, s.counts(), got)
			if p.Connections == 0 {
				assert.Equal(t, uint64(p.Datagrams*(p.Size+28)), got[0], "with headers of IP and UDP")
			}
			assert.Equal(t, uint64(p.Connections), got[opensField])
			assert.GreaterOrEqual(t, got[0], uint64(2*p.Connections*p.Bytes), "the payload at least")
			assert.Equal(t, got, trafficOf(t, c, root), "the parent's includes it")
			assert.Zero(t, trafficOf(t, c, idle))
		})
	}
}

// Cgroups that are busy at the same time get what is their own.
func TestTrafficIsNobodyElses(t *testing.T) {
	root := newTree(t)
	pod := newCgroup(t, root, "pod")
	paths := []string{newCgroup(t, pod, "a"), newCgroup(t, pod, "b"), newCgroup(t, root, "c")}
	plans := []plan{
		{Datagrams: 2000, Size: 100, Wait: true},
		{Datagrams: 500, Size: 1400, Connections: 50, Bytes: 10_000, Wait: true},
		{Connections: 5, Bytes: 1 << 20, Wait: true},
	}
	c := openTrafficOf(t, root)
	makers := make([]*maker, len(plans))
	for i, p := range plans {
		makers[i] = startTraffic(t, paths[i], p)
	}
	for _, m := range makers {
		m.goOn(t)
	}
	var all [3]trafficCounts
	for i, m := range makers {
		all[i] = m.wait(t).counts()
	}
	for i, path := range paths {
		assert.Equal(t, all[i], trafficOf(t, c, path), filepath.Base(path))
	}
	both := all[0]
	both.add(&all[1])
	assert.Equal(t, both, trafficOf(t, c, pod))
	both.add(&all[2])
	assert.Equal(t, both, trafficOf(t, c, root))
}

// A socket belongs to the cgroup that it was created in.
func TestTrafficOfASocketThatMoves(t *testing.T) {
	root := newTree(t)
	before, after := newCgroup(t, root, "before"), newCgroup(t, root, "after")
	c := openTrafficOf(t, root)
	m := startTraffic(t, before, plan{Datagrams: 100, Size: 72, Connections: 4, Bytes: 10, Wait: true})
	move(t, m, after)
	m.goOn(t)
	all := m.wait(t).counts()
	datagrams := trafficCounts{100 * 100, 100, 100 * 100, 100, 0}
	assert.Equal(t, datagrams, trafficOf(t, c, before), "its sockets were there before it moved")
	for k := range all {
		all[k] -= datagrams[k]
	}
	assert.Equal(t, all, trafficOf(t, c, after))
}

func move(t testing.TB, m *maker, path string) {
	t.Helper()
	pid := strconv.Itoa(m.command.Process.Pid)
	require.NoError(t, os.WriteFile(filepath.Join(path, "cgroup.procs"), []byte(pid), 0))
}

// What a cgroup had stays with its parent, and one that is made again under the
// same path begins at 0.
func TestTrafficOfACgroupThatIsGone(t *testing.T) {
	root := newTree(t)
	pod := newCgroup(t, root, "pod")
	inner := newCgroup(t, pod, "inner")
	work := newCgroup(t, inner, "work")
	c := openTrafficOf(t, root)
	load := plan{Datagrams: 100, Size: 72}
	first := startTraffic(t, work, load).wait(t).counts()
	assert.Equal(t, first, trafficOf(t, c, pod))
	old := id(t, work)
	more := startTraffic(t, work, load).wait(t).counts() // which no sweep sees
	both := first
	both.add(&more)

	require.NoError(t, unix.Rmdir(work))
	require.NoError(t, unix.Rmdir(inner))
	assert.Equal(t, both, trafficOf(t, c, pod), "nothing is lost")
	assert.NotContains(t, c.traffic.ids(nil), old, "its counts are freed")

	require.NoError(t, os.Mkdir(inner, 0o755))
	require.NoError(t, os.Mkdir(work, 0o755))
	assert.Zero(t, trafficOf(t, c, work), "another cgroup of the same path")
	third := startTraffic(t, work, load).wait(t).counts()
	assert.Equal(t, third, trafficOf(t, c, work))
	both.add(&third)
	assert.Equal(t, both, trafficOf(t, c, pod))
}

// A socket may outlive its cgroup; what it does then is counted for no cgroup
// that is there, but for all of them together, and its counts are freed again.
func TestTrafficOfASocketWithoutACgroup(t *testing.T) {
	root := newTree(t)
	gone, other := newCgroup(t, root, "gone"), newCgroup(t, root, "other")
	c := openTrafficOf(t, root)
	m := startTraffic(t, gone, plan{Datagrams: 100, Size: 72, Wait: true})
	assert.Zero(t, trafficOf(t, c, gone))
	move(t, m, other)
	require.NoError(t, unix.Rmdir(gone))
	assert.Zero(t, trafficOf(t, c, other), "the sweep that misses the cgroup")
	m.goOn(t)
	all := m.wait(t).counts()
	assert.Len(t, c.traffic.ids(nil), 1, "counted again")
	assert.Zero(t, trafficOf(t, c, other))
	var s arc.Sweep
	for range reapEvery {
		require.NoError(t, c.Sweep(&s))
	}
	assert.Empty(t, c.traffic.ids(nil))
	assert.Equal(t, all, trafficOf(t, c, root))
	assert.Zero(t, trafficOf(t, c, other))
}

// Connections are seen wherever they are begun, and counted below the root only.
func TestTrafficOfCgroupsElsewhereIsNotOurs(t *testing.T) {
	tree := newTree(t)
	root := newCgroup(t, tree, "root")
	inside, elsewhere := newCgroup(t, newCgroup(t, root, "group"), "inside"), newCgroup(t, tree, "elsewhere")
	c := openTrafficOf(t, root)
	p := plan{Connections: 5, Bytes: 100}
	startTraffic(t, elsewhere, p).wait(t)
	all := startTraffic(t, inside, p).wait(t).counts()
	assert.Len(t, c.traffic.ids(nil), 1, "nobody else takes room")
	var s arc.Sweep
	for range reapEvery {
		require.NoError(t, c.Sweep(&s))
	}
	assert.Equal(t, all, trafficOf(t, c, root))
	assert.Equal(t, all, trafficOf(t, c, inside))
}

// A cgroup for which a sweep has no room is not gone: it keeps its counts, and its
// parent does not fall behind what it was.
func TestTrafficWhileSweepsAreTruncated(t *testing.T) {
	root := newTree(t)
	first, last := newCgroup(t, root, "first"), newCgroup(t, root, "last")
	c, err := OpenCgroupsAndTraffic(root, 4)
	unable(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	gone := newCgroup(t, last, "gone")
	left := startTraffic(t, gone, plan{Datagrams: 10, Size: 72}).wait(t).counts()
	assert.Equal(t, left, trafficOf(t, c, last))
	require.NoError(t, unix.Rmdir(gone))
	own := startTraffic(t, last, plan{Datagrams: 20, Size: 72}).wait(t).counts()
	all := left
	all.add(&own)
	assert.Equal(t, all, trafficOf(t, c, last))
	assert.Equal(t, all, trafficOf(t, c, root))

	crowd := []string{newCgroup(t, first, "crowd"), newCgroup(t, first, "throng")}
	var s arc.Sweep
	for range reapEvery { // everything is looked at in one of them
		require.NoError(t, c.Sweep(&s))
	}
	assert.Equal(t, uint32(1), s.Truncated)
	assert.NotContains(t, s.ID, id(t, last))
	assert.Equal(t, all, trafficOf(t, c, root))

	for _, path := range crowd {
		require.NoError(t, unix.Rmdir(path))
	}
	assert.Equal(t, own, trafficOf(t, c, last), "what others left to it is its parent's now")
	assert.Equal(t, all, trafficOf(t, c, root))
	more := startTraffic(t, last, plan{Datagrams: 5, Size: 72}).wait(t).counts()
	all.add(&more)
	assert.Equal(t, all, trafficOf(t, c, root), "nothing is lost")
}

// However many cgroups come and go at one path, and some between two sweeps: there
// is room for them all, and the root forgets nothing.
func TestTrafficOfManyCgroupsThatComeAndGo(t *testing.T) {
	root := newTree(t)
	const bound, at, total = 32, 16, 2000
	c, err := OpenCgroupsAndTraffic(root, bound)
	unable(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	pod := newCgroup(t, root, "pod")
	counts := make([]trafficTrafficCounts, len(c.traffic.value))
	for cpu := range counts {
		counts[cpu].Count = [5]uint64{1, 1, 1, 1, 1}
	}
	each := uint64(len(counts))
	var s arc.Sweep
	for i := range total {
		path := filepath.Join(pod, strconv.Itoa(i%at))
		if i >= at {
			require.NoError(t, unix.Rmdir(path))
		}
		require.NoError(t, os.Mkdir(path, 0o755))
		if i%3 == 0 {
			require.NoError(t, c.Sweep(&s))
			require.Zero(t, row(t, &s, path, arc.CgroupBytesSent), "not what another had here")
		}
		// As its first packets would.
		require.NoError(t, c.traffic.counts.Update(id(t, path), counts, ebpf.UpdateNoExist), "no room for the %dth", i)
		if i%5 == 0 {
			require.NoError(t, c.Sweep(&s))
			require.Equal(t, each, row(t, &s, path, arc.CgroupBytesSent))
		}
	}
	for range reapEvery {
		require.NoError(t, c.Sweep(&s))
	}
	assert.Len(t, c.traffic.ids(nil), at, "those that are there")
	assert.Equal(t, total*each, row(t, &s, root, arc.CgroupBytesSent))
	assert.LessOrEqual(t, row(t, &s, pod, arc.CgroupBytesSent), total*each)
	assert.False(t, c.traffic.full())
}

// A cgroup for whose counts there is no room has none; the others keep theirs.
func TestTrafficThatFindsNoRoom(t *testing.T) {
	root := newTree(t)
	paths := []string{newCgroup(t, root, "a"), newCgroup(t, root, "b"), newCgroup(t, root, "c")}
	small, err := openTraffic(root, 1)
	unable(t, err)
	c := &Cgroups{traffic: small}
	require.NoError(t, c.open(root, 0))
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	assert.False(t, small.full())
	var want []trafficCounts
	for _, path := range paths {
		want = append(want, startTraffic(t, path, plan{Datagrams: 10, Size: 72}).wait(t).counts())
	}
	assert.Len(t, small.ids(nil), trafficRoom)
	assert.Equal(t, want[0], trafficOf(t, c, paths[0]))
	assert.Equal(t, want[1], trafficOf(t, c, paths[1]))
	assert.True(t, small.full())
	var none trafficCounts
	for k := range none {
		none[k] = arc.Absent
	}
	assert.Equal(t, none, trafficOf(t, c, paths[2]), "unknown, and not zero")
}

// Who does not ask pays nothing: no column, and no program on packets.
func TestTrafficIsNotCountedUnasked(t *testing.T) {
	root := newTree(t)
	c := openCgroups(t, root, 0)
	var s arc.Sweep
	require.NoError(t, c.Sweep(&s))
	for _, f := range trafficFields {
		assert.Empty(t, s.Columns[f])
	}
	assert.Empty(t, attached(t, root))
}

// attached returns the programs on packets at root.
func attached(t testing.TB, root string) (ids []ebpf.ProgramID) {
	t.Helper()
	directory, err := os.Open(root)
	require.NoError(t, err)
	defer directory.Close()
	for _, at := range []ebpf.AttachType{ebpf.AttachCGroupInetIngress, ebpf.AttachCGroupInetEgress} {
		result, err := link.QueryPrograms(link.QueryOptions{Target: int(directory.Fd()), Attach: at})
		require.NoError(t, err)
		for _, p := range result.Programs {
			ids = append(ids, p.ID)
		}
	}
	return ids
}

func TestTrafficLeavesNothingAttached(t *testing.T) {
	root := newTree(t)
	c, err := OpenCgroupsAndTraffic(root, 0)
	unable(t, err)
	assert.Len(t, attached(t, root), 2)
	require.NoError(t, c.Close())
	require.NoError(t, c.Close())
	assert.Empty(t, attached(t, root))
}

// countUntilKilled is a process that counts, and says when it does.
func countUntilKilled(root string) {
	_, err := OpenCgroupsAndTraffic(root, 0)
	fmt.Println(err)
	time.Sleep(time.Minute)
}

// Who is killed leaves no program behind that packets would have to pass.
func TestTrafficLeavesNothingAttachedWhenKilled(t *testing.T) {
	root := newTree(t)
	openTrafficOf(t, newCgroup(t, root, "other")) // skips where nothing can be counted
	command := exec.Command("/proc/self/exe")
	command.Env = append(os.Environ(), "REFLEX_TEST_COUNT="+root)
	output, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	line, err := bufio.NewReader(output).ReadString('\n')
	require.NoError(t, err)
	assert.Equal(t, "<nil>\n", line)
	assert.Len(t, attached(t, root), 2)
	stop(t, command)
	assert.Eventually(t, func() bool { return len(attached(t, root)) == 0 }, 10*time.Second, 10*time.Millisecond)
}

// Programs of others at the same cgroup and below it run as before, those too
// that are attached in a way that overrides their ancestors', before or after.
func TestTrafficIsCountedBesideOthers(t *testing.T) {
	root := newTree(t)
	busy := newCgroup(t, root, "busy")
	drop := filterOf(t, 0)
	atRoot := attachLink(t, root, filterOf(t, 1))
	c := openTrafficOf(t, root)
	attachOverriding(t, busy, filterOf(t, 1))
	assert.Equal(t, startTraffic(t, busy, plan{Datagrams: 10, Size: 72}).wait(t).counts(), trafficOf(t, c, busy))
	require.NoError(t, atRoot.Close())

	before := trafficOf(t, c, busy)
	attachOverriding(t, busy, drop)
	directory, err := os.Open(busy)
	require.NoError(t, err)
	defer directory.Close()
	m := startTraffic(t, busy, plan{Datagrams: 1, Size: 72, Wait: true})
	m.goOn(t)
	assert.Error(t, m.command.Wait(), "what others drop stays dropped")
	assert.Equal(t, before[0], trafficOf(t, c, busy)[0])
}

// filterOf is a program on packets that always gives the same verdict.
func filterOf(t testing.TB, verdict int32) *ebpf.Program {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.CGroupSKB, AttachType: ebpf.AttachCGroupInetEgress, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, verdict), asm.Return()},
	})
	unable(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

func attachLink(t testing.TB, path string, p *ebpf.Program) link.Link {
	t.Helper()
	l, err := link.AttachCgroup(link.CgroupOptions{Path: path, Attach: ebpf.AttachCGroupInetEgress, Program: p})
	require.NoError(t, err)
	return l
}

// attachOverriding attaches the older way, which ends with the cgroup.
func attachOverriding(t testing.TB, path string, p *ebpf.Program) {
	t.Helper()
	directory, err := os.Open(path)
	require.NoError(t, err)
	defer directory.Close()
	const allowOverride = 1
	require.NoError(t, link.RawAttachProgram(link.RawAttachProgramOptions{
		Target: int(directory.Fd()), Program: p, Attach: ebpf.AttachCGroupInetEgress, Flags: allowOverride,
	}))
}

// withCapabilities calls do with these in the effective set and no others.
func withCapabilities(t testing.TB, do func(), bits ...int) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var all [2]unix.CapUserData
	require.NoError(t, unix.Capget(&header, &all[0]))
	some := all
	some[0].Effective, some[1].Effective = 0, 0
	for _, bit := range bits {
		some[bit/32].Effective |= 1 << (bit % 32) & all[bit/32].Permitted
	}
	require.NoError(t, unix.Capset(&header, &some[0]))
	defer func() { require.NoError(t, unix.Capset(&header, &all[0])) }()
	do()
}

// Without CAP_NET_ADMIN it is named, with its remedy; connections and the rest of
// the sweep are read all the same.
func TestTrafficWithoutNetAdmin(t *testing.T) {
	root := newTree(t)
	busy := newCgroup(t, root, "busy")
	openTrafficOf(t, root) // skips where nothing can be counted at all
	withCapabilities(t, func() {
		c, err := OpenCgroupsAndTraffic(root, 0)
		require.NoError(t, err)
		defer func() { require.NoError(t, c.Close()) }()
		i := slices.IndexFunc(c.Missing(), func(r Requirement) bool { return r.Name == "CAP_NET_ADMIN" })
		require.GreaterOrEqual(t, i, 0, "%+v", c.Missing())
		assert.Contains(t, c.Missing()[i].Cause, "not permitted")
		assert.Contains(t, c.Missing()[i].Remedy, "CAP_NET_ADMIN")

		made := startTraffic(t, busy, plan{Connections: 5, Bytes: 100}).wait
		s := made(t)
		var sweep arc.Sweep
		require.NoError(t, c.Sweep(&sweep))
		assert.Equal(t, s.Opens, row(t, &sweep, busy, arc.CgroupTCPOpens))
		assert.Equal(t, arc.Absent, row(t, &sweep, busy, arc.CgroupBytesSent))
		assert.Positive(t, row(t, &sweep, busy, arc.CgroupCPUTime))
		assert.Equal(t, Requirement{"CAP_NET_ADMIN", false, "not in the effective set of this process", remedyNetAdmin}, ProbeTraffic()[0])
		assert.True(t, ProbeTraffic()[1].Present)
	}, unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_DAC_OVERRIDE)
	withCapabilities(t, func() {
		c, err := OpenCgroupsAndTraffic(root, 0)
		require.NoError(t, err)
		defer func() { require.NoError(t, c.Close()) }()
		assert.True(t, c.traffic.packets && c.traffic.opens, "%+v", c.Missing())
		assert.True(t, ProbeTraffic()[0].Present)
	}, unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_NET_ADMIN)
}

// At the root of the hierarchy, where it is meant to be; in a machine of its own,
// as everybody there would pay.
func TestTrafficOfTheWholeHierarchy(t *testing.T) {
	if os.Getenv("REFLEX_TEST_EXHAUST") == "" {
		t.Skip("REFLEX_TEST_EXHAUST is not set: this counts every packet of the machine")
	}
	mount, err := cgroupfs.FindRoot()
	unable(t, err)
	c := openTrafficOf(t, mount)
	tree := newTree(t)
	busy := newCgroup(t, tree, "busy")
	before := trafficOf(t, c, mount)
	s := startTraffic(t, busy, plan{Datagrams: 100, Size: 500, Connections: 10, Bytes: 100_000}).wait(t).counts()
	assert.Equal(t, s, trafficOf(t, c, busy))
	after := trafficOf(t, c, mount)
	for k := range s {
		assert.GreaterOrEqual(t, after[k], before[k]+s[k])
	}
}

func TestTrafficIsSweptWithoutAllocation(t *testing.T) {
	root := newTree(t)
	busy := newCgroup(t, root, "busy")
	c := openTrafficOf(t, root)
	startTraffic(t, busy, plan{Datagrams: 1, Size: 72}).wait(t)
	var s arc.Sweep
	for range reapEvery + 1 {
		require.NoError(t, c.Sweep(&s))
	}
	assert.Zero(t, testing.AllocsPerRun(2*reapEvery, func() { _ = c.Sweep(&s) }))
}
