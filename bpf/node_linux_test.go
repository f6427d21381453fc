// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
)

func TestNodeAgreesWithProc(t *testing.T) {
	n := openNode(t)
	needSampler(t, n)
	wrong, err := n.verify()
	require.NoError(t, err)
	for part, err := range wrong {
		assert.NoErrorf(t, err, "part %#x", part)
	}

	before := vmstat(t)
	into := absent()
	require.NoError(t, n.Read(into))
	after := vmstat(t)
	for field, names := range map[arc.NodeField][]string{
		arc.NodeMajorFaults:      {"pgmajfault"},
		arc.NodeOOMKills:         {"oom_kill"},
		arc.NodeSwapIn:           {"pswpin"},
		arc.NodeSwapOut:          {"pswpout"},
		arc.NodeCompactionStalls: {"compact_stall"},
		arc.NodeDirectReclaims:   {"allocstall_dma", "allocstall_dma32", "allocstall_normal", "allocstall_movable", "allocstall_device"},
	} {
		var low, high float64
		for _, name := range names {
			low, high = low+before[name], high+after[name]
		}
		assert.GreaterOrEqual(t, into[field], low, arc.NodeFields[field].Name)
		assert.LessOrEqual(t, into[field], high, arc.NodeFields[field].Name)
	}
}

func TestNodeLeavesTheRestUntouched(t *testing.T) {
	n := openNode(t)
	into := absent()
	require.NoError(t, n.Read(into))
	for _, field := range []arc.NodeField{arc.NodeMemoryTotal, arc.NodeMemoryUsed, arc.NodeMemoryAvailable, arc.NodePacketsReceived, arc.NodeBytesSent, arc.NodeMemoryFragmentation, arc.NodeSyscallRate} {
		assert.True(t, math.IsNaN(into[field]), arc.NodeFields[field].Name)
	}
	read := 0
	for _, value := range into {
		if !math.IsNaN(value) {
			read++
		}
	}
	t.Logf("%d of %d fields read; missing: %+v", read, len(into), n.Missing())
}

// As on a kernel built without swap, compaction and the rest.
func TestWhatTheKernelDoesNotCountIsNamedAndAbsent(t *testing.T) {
	n := openNode(t)
	needSampler(t, n)
	n.requirements, n.parts = nil, partSwitches
	n.requireParts()
	var names []string
	for _, r := range n.Missing() {
		names = append(names, r.Name)
		assert.NotEmpty(t, r.Cause, r.Name)
		assert.NotEmpty(t, r.Remedy, r.Name)
	}
	assert.Equal(t, []string{
		"SCHEDSTATS", "percpu/kernel_cpustat", "percpu/vm_event_states", "tasks of struct rq", "SWAP", "COMPACTION", "PSI",
	}, names)
	into := absent()
	require.NoError(t, n.Read(into))
	assert.Positive(t, into[arc.NodeContextSwitches])
	for _, f := range []arc.NodeField{
		arc.NodeCPUSoftIRQ, arc.NodeCPUIRQ, arc.NodeTasksRunnable, arc.NodeTasksBlocked, arc.NodeTasksUninterruptible,
		arc.NodeSwapIn, arc.NodeSwapOut, arc.NodeCompactionStalls,
	} {
		assert.True(t, math.IsNaN(into[f]), arc.NodeFields[f].Name)
	}
}

func TestNodeCountsContextSwitches(t *testing.T) {
	n := openNode(t)
	before := read(t, n, arc.NodeContextSwitches)
	const rounds = 1000
	pingPong(t, rounds)
	assert.GreaterOrEqual(t, read(t, n, arc.NodeContextSwitches)-before, float64(rounds))
}

// pingPong sends a byte to another process and back.
func pingPong(t *testing.T, rounds int) {
	t.Helper()
	cat := exec.Command("cat")
	in, err := cat.StdinPipe()
	require.NoError(t, err)
	out, err := cat.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cat.Start())
	for b := []byte{0}; rounds > 0; rounds-- {
		_, err := in.Write(b)
		require.NoError(t, err)
		_, err = out.Read(b)
		require.NoError(t, err)
	}
	require.NoError(t, in.Close())
	require.NoError(t, cat.Wait())
}

func TestNodeCountsProcesses(t *testing.T) {
	n := openNode(t)
	fields := []arc.NodeField{arc.NodeForks, arc.NodeExecs, arc.NodeExits}
	var before [3]float64
	for i, f := range fields {
		before[i] = read(t, n, f)
	}
	const children = 20
	for range children {
		require.NoError(t, startSpinner(t, 0, -1).Wait())
	}
	for i, f := range fields {
		delta := read(t, n, f) - before[i]
		assert.GreaterOrEqual(t, delta, float64(children), arc.NodeFields[f].Name)
		assert.Less(t, delta, 1e5, arc.NodeFields[f].Name)
	}
}

func TestNodeCountsPageFaults(t *testing.T) {
	n := openNode(t)
	before := read(t, n, arc.NodePageFaults)
	const pages = 4096
	page := os.Getpagesize()
	memory, err := unix.Mmap(-1, 0, pages*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	require.NoError(t, err)
	defer func() { require.NoError(t, unix.Munmap(memory)) }()
	_ = unix.Madvise(memory, unix.MADV_NOHUGEPAGE)
	for i := 0; i < len(memory); i += page {
		memory[i] = 1
	}
	assert.GreaterOrEqual(t, read(t, n, arc.NodePageFaults)-before, float64(pages))
}

// CPU time grows as /proc/stat says, which cuts each part of it to 10 ms. How much
// a load adds to it is not known beforehand: where time is stolen from the machine
// the scheduler's tick, which counts here, does not see what the load's own clock
// does.
func TestNodeTimesTheCPUs(t *testing.T) {
	n := openNode(t)
	read(t, n, arc.NodeCPUBusy)
	for field, parts := range map[arc.NodeField][]int{ // columns of the line "cpu"
		arc.NodeCPUBusy:   {0, 1, 2, 5, 6, 7},
		arc.NodeCPUSystem: {2, 5, 6},
	} {
		source := func() (sum float64) {
			columns := procStat(t, "cpu")
			for _, c := range parts {
				sum += columns[c] / 100
			}
			return sum
		}
		const least = 0.2
		g := grow(t, n, field, source, func() {
			spinner := startSpinner(t, 20*time.Second, -1)
			defer stop(t, spinner)
			before := source()
			require.Eventually(t, func() bool { return source() > before+least }, 20*time.Second, 10*time.Millisecond)
		})
		cut := float64(len(parts)) * 0.01
		assert.GreaterOrEqual(t, g.ours, g.low-cut, arc.NodeFields[field].Name)
		assert.LessOrEqual(t, g.ours, g.high+cut, arc.NodeFields[field].Name)
		assert.GreaterOrEqual(t, g.ours, least-cut, arc.NodeFields[field].Name)
	}
}

func TestNodePressureFollowsTheKernels(t *testing.T) {
	n := openNode(t)
	read(t, n, arc.NodePressureCPUSome)
	var files pressure
	require.NoError(t, files.open())
	defer files.close()

	// Two tasks on one CPU: one of them always waits.
	const span = 20 * time.Second
	load := []*exec.Cmd{startSpinner(t, span, -1), startSpinner(t, span, -1)}
	require.NoError(t, n.Read(absent()))
	kernelBefore, err := files.kernelTotals()
	require.NoError(t, err)
	first, last := absent(), absent()
	require.NoError(t, n.Read(first))
	*last = *first

	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Second); time.Now().Before(end); <-tick.C {
		now := absent()
		require.NoError(t, n.Read(now))
		for _, f := range stalls {
			require.GreaterOrEqual(t, now[f], last[f], "%s went back", arc.NodeFields[f].Name)
		}
		*last = *now
	}
	kernelAfter, err := files.kernelTotals()
	require.NoError(t, err)
	for _, l := range load {
		stop(t, l)
	}
	for i, f := range stalls {
		kernel := seconds(kernelAfter[i] - kernelBefore[i])
		ours := last[f] - first[f]
		t.Logf("%s: kernel %.3f s, here %.3f s", arc.NodeFields[f].Name, kernel, ours)
		// The weights differ with the length of the window.
		assert.InDelta(t, kernel, ours, 0.05+0.2*kernel, arc.NodeFields[f].Name)
		assert.InDelta(t, seconds(kernelAfter[i]), last[f], 0.1+0.2*kernel, "total of %s", arc.NodeFields[f].Name)
	}
	assert.Greater(t, last[arc.NodePressureCPUSome]-first[arc.NodePressureCPUSome], 0.3, "the load is a stall")
}

// A sampler that stopped for a while has lost track of u32 counters; the
// kernel's own totals have not.
func TestNodePressureRecoversFromAGap(t *testing.T) {
	n := openNode(t)
	read(t, n, arc.NodePressureCPUSome)
	into := absent()
	n.pressure.gaps-- // as if the program had told of another gap
	n.pressure.base[0] -= 1e9
	n.pressure.total[0] -= 1e9
	require.NoError(t, n.Read(into))
	kernel, err := n.pressure.kernelTotals()
	require.NoError(t, err)
	assert.InDelta(t, seconds(kernel[0]), into[arc.NodePressureCPUSome], 0.1)
}

func TestNodeCountsBlockOperations(t *testing.T) {
	n := openNode(t)
	operations, bytes := read(t, n, arc.NodeBlockOperations), read(t, n, arc.NodeBlockBytes)
	spent := read(t, n, arc.NodeBlockTime)
	path := filepath.Join(t.TempDir(), "file")
	onDisk(t, filepath.Dir(path))
	f, err := os.Create(path)
	require.NoError(t, err)
	defer f.Close()
	const size = 1 << 20
	_, err = f.Write(make([]byte, size))
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	assert.Greater(t, read(t, n, arc.NodeBlockOperations), operations)
	assert.GreaterOrEqual(t, read(t, n, arc.NodeBlockBytes)-bytes, float64(size))
	assert.Greater(t, read(t, n, arc.NodeBlockTime), spent)
}

// onDisk skips where files of directory never reach a block device.
func onDisk(t *testing.T, directory string) {
	t.Helper()
	var in unix.Statfs_t
	require.NoError(t, unix.Statfs(directory, &in))
	if in.Type == unix.TMPFS_MAGIC || in.Type == unix.RAMFS_MAGIC {
		t.Skip("temporary files are not on a block device")
	}
}

func TestNodeCountsRetransmissions(t *testing.T) {
	n := openNode(t)
	before := read(t, n, arc.NodeTCPRetransmits)
	// A listener whose queue is full drops what else wants to connect, and the
	// kernel tries again after a second.
	listener, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	defer unix.Close(listener)
	require.NoError(t, unix.Bind(listener, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	require.NoError(t, unix.Listen(listener, 0))
	bound, err := unix.Getsockname(listener)
	require.NoError(t, err)
	for range 4 {
		s, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
		require.NoError(t, err)
		defer unix.Close(s)
		if err := unix.Connect(s, bound); err != nil {
			if err == unix.ENETUNREACH {
				t.Skip("there is no loopback interface")
			}
			require.ErrorIs(t, err, unix.EINPROGRESS)
		}
	}
	require.Eventually(t, func() bool { return read(t, n, arc.NodeTCPRetransmits) > before },
		10*time.Second, 50*time.Millisecond)
}

// Only where the machine is the test's own.
func TestNodeSeesMemoryRunOut(t *testing.T) {
	if os.Getenv("REFLEX_TEST_EXHAUST") == "" {
		t.Skip("REFLEX_TEST_EXHAUST is not set: this takes all memory of the machine")
	}
	n := openNode(t)
	fields := []arc.NodeField{arc.NodeOOMKills, arc.NodeDirectReclaims, arc.NodeDirectReclaimTime}
	var before [3]float64
	for i, f := range fields {
		before[i] = read(t, n, f)
	}
	start := time.Now()
	command := exec.Command("/proc/self/exe")
	command.Env = append(os.Environ(), "REFLEX_TEST_EXHAUST=child")
	require.ErrorContains(t, command.Run(), "killed")
	for i, f := range fields {
		delta := read(t, n, f) - before[i]
		t.Logf("%s: %g", arc.NodeFields[f].Name, delta)
		assert.Positive(t, delta, arc.NodeFields[f].Name)
	}
	assert.Less(t, read(t, n, arc.NodeDirectReclaimTime)-before[2], 100*time.Since(start).Seconds())
	low := vmstat(t)["compact_stall"]
	stalls := read(t, n, arc.NodeCompactionStalls)
	t.Logf("%s: %g", arc.NodeFields[arc.NodeCompactionStalls].Name, stalls)
	assert.GreaterOrEqual(t, stalls, low)
	assert.LessOrEqual(t, stalls, vmstat(t)["compact_stall"])
}

func TestNodeReadDoesNotAllocate(t *testing.T) {
	n := openNode(t)
	into := absent()
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		if err := n.Read(into); err != nil {
			t.Error(err)
		}
	}))
}

func TestNodeClosesMoreThanOnce(t *testing.T) {
	n, err := OpenNode()
	unable(t, err)
	require.NoError(t, n.Close())
	require.NoError(t, n.Close())
}

func TestProbeNamesEverythingOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Probe() {
		assert.False(t, seen[r.Name], "%s is named twice", r.Name)
		seen[r.Name] = true
		assert.Equal(t, r.Present, r.Cause == "", "%+v", r)
		assert.Equal(t, r.Present, r.Remedy == "", "%+v", r)
		assert.NotContains(t, r.Cause, "\n")
	}
	for _, name := range []string{"BTF", "CAP_BPF", "CAP_PERFMON", "cgroup v2"} {
		assert.True(t, seen[name], name)
	}
}

// The verifier's last word is what helps, wherever it stands.
func TestTheVerdictOfTheVerifier(t *testing.T) {
	for name, log := range map[string][]string{
		"until 6.x": {"14: (61) r1 = *(u32 *)(r6 +44)", "R6 invalid mem access 'scalar'", "processed 14 insns (limit 1000000)"},
		"from 7": {
			"14: (61) r1 = *(u32 *)(r6 +44)", "R6 invalid mem access 'scalar'", "", "Verification failed: Register Type Safety: Invalid dereference",
			"", "Reason:", "  R6 is an integer scalar here, not a pointer to memory.", "", "processed 14 insns (limit 1000000)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := verdict(&ebpf.VerifierError{Cause: unix.EACCES, Log: log})
			assert.Regexp(t, "permission denied: .*R6 invalid mem access 'scalar'", got)
			assert.NotContains(t, got, "Reason")
		})
	}
}

func TestFailureNamesItsRemedy(t *testing.T) {
	memlock := fmt.Errorf("map create: %w (MEMLOCK may be too low, consider rlimit.RemoveMemlock)", unix.EPERM)
	verifier := errors.New("refused by the verifier: permission denied")
	for name, tc := range map[string]struct {
		err        error
		privileged bool
		limited    bool
		remedy     string
		cause      string
	}{
		"no privilege":                   {fs.ErrPermission, false, false, remedyCapability, "permission denied"},
		"no privilege, limit suspected":  {memlock, false, true, remedyCapability, "map create: operation not permitted"},
		"no privilege, program refused":  {verifier, false, false, remedyCapability, verifier.Error()},
		"no privilege, not in kernel":    {ErrUnsupported, false, false, remedyKernel, ErrUnsupported.Error()},
		"forbidden":                      {fs.ErrPermission, true, false, remedyForbidden, "permission denied"},
		"no room":                        {memlock, true, true, remedyLimit, memlock.Error()},
		"not in kernel":                  {ErrUnsupported, true, false, remedyKernel, ErrUnsupported.Error()},
		"privileged and program refused": {verifier, true, false, remedyReport, verifier.Error()},
		"not cgroup v2":                  {errNotUnified, false, false, remedyRoot, errNotUnified.Error()},
		"something else":                 {net.ErrClosed, true, true, remedyReport, net.ErrClosed.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, Requirement{"thing", false, tc.cause, tc.remedy}, failedAs("thing", tc.err, tc.privileged, tc.limited))
		})
	}
}

func TestTheRemedyForMemoryIsEveryones(t *testing.T) {
	root := t.TempDir() // lists no controller
	assert.Equal(t, cgroupfs.MemoryRemedy(root), probeController(root, "memory").Remedy)
}

func vmstat(t *testing.T) map[string]float64 {
	t.Helper()
	text, err := os.ReadFile("/proc/vmstat")
	require.NoError(t, err)
	out := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 2 {
			out[f[0]] = float64(parse(t, f[1]))
		}
	}
	return out
}

func BenchmarkNodeRead(b *testing.B) {
	n := openNode(b)
	into := absent()
	b.ReportAllocs()
	for b.Loop() {
		if err := n.Read(into); err != nil {
			b.Fatal(err)
		}
	}
}
