// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package bpf

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cilium/ebpf/btf"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// What is read by BPF against what the kernel says of the same elsewhere, under
// load, within the tolerance that each test states.

// procStat returns the numbers of the line of /proc/stat that begins with key.
func procStat(t testing.TB, key string) []float64 {
	t.Helper()
	text, err := os.ReadFile("/proc/stat")
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); f[0] == key {
			var out []float64
			for _, digits := range f[1:] {
				out = append(out, float64(parse(t, digits)))
			}
			return out
		}
	}
	t.Fatalf("/proc/stat has no line %s", key)
	return nil
}

// The times are those of /proc/stat, which cuts to 10 ms.
func TestInterruptTimeAgreesWithProcStat(t *testing.T) {
	const irq, softirq = 5, 6 // columns of the line "cpu"
	n := openNode(t)
	read(t, n, arc.NodeCPUSoftIRQ)
	first := procStat(t, "cpu")[softirq]
	before := read(t, n, arc.NodeCPUSoftIRQ)
	inOwnNetwork(t, func() error {
		for end := time.Now().Add(5 * time.Second); time.Now().Before(end) && procStat(t, "cpu")[softirq] < first+3; {
			if err := flood(100 * time.Millisecond); err != nil {
				return err
			}
		}
		return nil
	})
	into := absent()
	low := procStat(t, "cpu")
	require.NoError(t, n.Read(into))
	high := procStat(t, "cpu")
	t.Logf("softirq: +%.3f s, /proc/stat +%.2f s", into[arc.NodeCPUSoftIRQ]-before, (low[softirq]-first)/100)
	for f, column := range map[arc.NodeField]int{arc.NodeCPUSoftIRQ: softirq, arc.NodeCPUIRQ: irq} {
		assert.GreaterOrEqual(t, into[f], low[column]/100, arc.NodeFields[f].Name)
		assert.LessOrEqual(t, into[f], high[column]/100+0.01, arc.NodeFields[f].Name)
	}
	assert.GreaterOrEqual(t, into[arc.NodeCPUSoftIRQ]-before, 0.01, "the load is software interrupts")
	assert.GreaterOrEqual(t, into[arc.NodeCPUSystem], into[arc.NodeCPUSoftIRQ]+into[arc.NodeCPUIRQ], "both are time in the kernel")
}

// flood sends datagrams over loopback, whose reception is a software interrupt.
func flood(span time.Duration) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	if err := unix.Bind(s, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return err
	}
	bound, err := unix.Getsockname(s)
	if err != nil {
		return err
	}
	payload := make([]byte, 64)
	for end := time.Now().Add(span); time.Now().Before(end); {
		for range 64 {
			if err := unix.Sendto(s, payload, 0, bound); err != nil {
				return err
			}
		}
	}
	return nil
}

// compared is a gauge read many times, each between two looks at another source.
type compared struct{ ours, theirs float64 }

func compare(t *testing.T, n *Node, field arc.NodeField, source func() float64) compared {
	t.Helper()
	const readings = 40
	var sum compared
	for range readings {
		before := source()
		sum.ours += read(t, n, field)
		sum.theirs += (before + source()) / 2
		time.Sleep(3 * time.Millisecond) // the load goes on
	}
	return compared{sum.ours / readings, sum.theirs / readings}
}

// runnableTasks is what /proc/loadavg calls the currently runnable entities.
func runnableTasks(t *testing.T) float64 {
	t.Helper()
	text, err := os.ReadFile("/proc/loadavg")
	require.NoError(t, err)
	runnable, _, _ := strings.Cut(strings.Fields(string(text))[3], "/")
	return float64(parse(t, runnable))
}

// The mean of 40 readings is within one task of that of /proc.
func TestRunnableTasksAgreeWithProc(t *testing.T) {
	n := openNode(t)
	read(t, n, arc.NodeTasksRunnable)
	const tasks = 6
	for range tasks {
		spinner := startSpinner(t, 20*time.Second, -1)
		defer stop(t, spinner)
	}
	require.Eventually(t, func() bool { return runnableTasks(t) > tasks }, 10*time.Second, 10*time.Millisecond)
	for name, source := range map[string]func() float64{
		"/proc/loadavg": func() float64 { return runnableTasks(t) },
		"/proc/stat":    func() float64 { return procStat(t, "procs_running")[0] },
	} {
		got := compare(t, n, arc.NodeTasksRunnable, source)
		t.Logf("runnable: %.2f, %s %.2f", got.ours, name, got.theirs)
		assert.InDelta(t, got.theirs, got.ours, 1, name)
		assert.Greater(t, got.ours, float64(tasks), "those that spin and the one that reads")
	}
}

// The mean of 40 readings is within half a task, or a fifth, of that of
// /proc/stat.
func TestBlockedTasksAgreeWithProcStat(t *testing.T) {
	const readers, size = 16, 16 << 20
	n := openNode(t)
	read(t, n, arc.NodeTasksBlocked)
	path := filepath.Join(t.TempDir(), "file")
	onDisk(t, filepath.Dir(path))
	require.NoError(t, os.WriteFile(path, make([]byte, size), 0o600))
	done := make(chan struct{})
	ended := make(chan error, readers)
	for range readers {
		go func() { ended <- readUncached(path, size, done) }()
	}
	got := compare(t, n, arc.NodeTasksBlocked, func() float64 { return procStat(t, "procs_blocked")[0] })
	close(done)
	for range readers {
		err := <-ended
		if errors.Is(err, unix.EINVAL) {
			t.Skipf("files here cannot be read uncached: %v", err)
		}
		require.NoError(t, err)
	}
	t.Logf("blocked: %.2f, /proc/stat %.2f", got.ours, got.theirs)
	assert.InDelta(t, got.theirs, got.ours, max(0.5, got.theirs/5))
	assert.Greater(t, got.theirs, 1.0, "the load waits for the disk")
}

// readUncached reads a file from the disk, over and over.
func readUncached(path string, size int, done <-chan struct{}) error {
	const chunk = 1 << 20
	f, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(f)
	memory, err := unix.Mmap(-1, 0, chunk, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Munmap(memory) }()
	for at := 0; ; at = (at + chunk) % size {
		select {
		case <-done:
			return nil
		default:
		}
		if _, err := unix.Pread(f, memory, int64(at)); err != nil {
			return err
		}
	}
}

// vforkInto starts a program in the cgroup at directory. As long as that is
// frozen the program does not begin, and who waits for it sleeps
// uninterruptibly.
func vforkInto(directory string) {
	d, err := os.Open(directory)
	if err != nil {
		panic(err)
	}
	command := exec.Command("/proc/self/exe", "-test.run=^$")
	command.Env = []string{"REFLEX_TEST_SPIN=0s"}
	command.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(d.Fd())}
	if err := command.Run(); err != nil {
		panic(err)
	}
}

// sleepers counts the tasks in state D of the whole machine.
func sleepers(t *testing.T) (count float64) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/task/[0-9]*/stat")
	require.NoError(t, err)
	for _, path := range all {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // gone
		}
		_, state, _ := strings.Cut(string(text), ") ")
		if strings.HasPrefix(state, "D") {
			count++
		}
	}
	return count
}

// The count is between the least and the most tasks in state D seen around it.
func TestUninterruptibleTasksAreThoseInStateD(t *testing.T) {
	n := openNode(t)
	read(t, n, arc.NodeTasksUninterruptible)
	cgroup := newCgroup(t, newTree(t), "frozen")
	freeze := filepath.Join(cgroup, "cgroup.freeze")
	require.NoError(t, os.WriteFile(freeze, []byte("1"), 0o600))
	const tasks = 5
	var all []*exec.Cmd
	defer func() {
		assert.NoError(t, os.WriteFile(freeze, []byte("0"), 0o600))
		for _, c := range all {
			assert.NoError(t, c.Wait())
		}
	}()
	for range tasks {
		c := exec.Command("/proc/self/exe")
		c.Env = append(os.Environ(), "REFLEX_TEST_VFORK="+cgroup)
		require.NoError(t, c.Start())
		all = append(all, c)
	}
	require.Eventually(t, func() bool { return sleepers(t) >= tasks }, 10*time.Second, 10*time.Millisecond)
	require.Eventually(t, func() bool {
		before := sleepers(t)
		ours := read(t, n, arc.NodeTasksUninterruptible)
		after := sleepers(t)
		t.Logf("uninterruptible: %g, in state D %g before and %g after", ours, before, after)
		return ours >= tasks && ours >= min(before, after) && ours <= max(before, after)
	}, 10*time.Second, 50*time.Millisecond)
}

// The sum lies between two looks at /proc/schedstat, which shows the same to
// the nanosecond.
func TestRunQueueDelayAgreesWithSchedstat(t *testing.T) {
	n := openNode(t)
	schedstatDelay(t) // skips on a kernel without
	first := read(t, n, arc.NodeRunQueueDelay)
	load := []*exec.Cmd{startSpinner(t, 20*time.Second, -1), startSpinner(t, 20*time.Second, -1)}
	require.Eventually(t, func() bool { return read(t, n, arc.NodeRunQueueDelay) > first+0.1 }, 10*time.Second, 20*time.Millisecond)
	before := schedstatDelay(t)
	ours := read(t, n, arc.NodeRunQueueDelay)
	after := schedstatDelay(t)
	for _, l := range load {
		stop(t, l)
	}
	t.Logf("run queue delay: %.3f s, /proc/schedstat %.3f to %.3f s", ours, before, after)
	assert.GreaterOrEqual(t, ours, before)
	assert.LessOrEqual(t, ours, after)
}

func schedstatDelay(t *testing.T) float64 {
	t.Helper()
	text, err := os.ReadFile("/proc/schedstat")
	if err != nil {
		t.Skip(err)
	}
	var sum uint64
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 8 && strings.HasPrefix(f[0], "cpu") {
			sum += parse(t, f[8])
		}
	}
	return seconds(sum)
}

// Counters that stay at 0 on a machine in good health are the right ones all the
// same: the kernel prints them to /proc/vmstat in the order of their numbers.
func TestMemoryEventsHaveTheNumbersOfVmstat(t *testing.T) {
	openNode(t)
	kernel, err := btf.LoadKernelSpec()
	require.NoError(t, err)
	var numbers *btf.Enum
	require.NoError(t, kernel.TypeByName("vm_event_item", &numbers))
	text, err := os.ReadFile("/proc/vmstat")
	require.NoError(t, err)
	line := map[string]int{}
	for l := range strings.Lines(string(text)) {
		name, _, _ := strings.Cut(l, " ")
		line[name] = len(line)
	}
	for _, v := range numbers.Values {
		switch v.Name {
		case "PSWPIN", "PSWPOUT", "PGFAULT", "PGMAJFAULT", "OOM_KILL", "ALLOCSTALL_NORMAL":
			assert.Equal(t, int(v.Value), line[strings.ToLower(v.Name)]-line["pgpgin"], v.Name)
		case "COMPACTSTALL":
			assert.Equal(t, int(v.Value), line["compact_stall"]-line["pgpgin"], v.Name)
		}
	}
}

// Only where the machine is the test's own, as it turns swapping on.
func TestPagesSwappedAreCounted(t *testing.T) {
	if os.Getenv("REFLEX_TEST_EXHAUST") == "" {
		t.Skip("REFLEX_TEST_EXHAUST is not set: this turns swapping on")
	}
	n := openNode(t)
	out, in := read(t, n, arc.NodeSwapOut), read(t, n, arc.NodeSwapIn)
	swapOn(t)
	const pages = 1024
	page := os.Getpagesize()
	memory, err := unix.Mmap(-1, 0, pages*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	require.NoError(t, err)
	defer func() { require.NoError(t, unix.Munmap(memory)) }()
	_ = unix.Madvise(memory, unix.MADV_NOHUGEPAGE)
	for i := range pages {
		memory[i*page] = byte(i) + 1
	}
	before := vmstat(t)
	require.NoError(t, unix.Madvise(memory, unix.MADV_PAGEOUT))
	assert.GreaterOrEqual(t, read(t, n, arc.NodeSwapOut)-out, pages*0.9)
	assert.Less(t, read(t, n, arc.NodeSwapIn)-in, pages*0.1, "nothing of it is read back yet")
	for i := range pages {
		require.Equal(t, byte(i)+1, memory[i*page])
	}
	after := vmstat(t)
	t.Logf("pages out %g, in %g; /proc/vmstat %g and %g", read(t, n, arc.NodeSwapOut)-out, read(t, n, arc.NodeSwapIn)-in,
		after["pswpout"]-before["pswpout"], after["pswpin"]-before["pswpin"])
	// Pages that were written a moment ago may still be in the swap cache, where
	// reading them back reads nothing.
	assert.InDelta(t, after["pswpin"]-before["pswpin"], read(t, n, arc.NodeSwapIn)-in, 64, "unless others swap as well")
	assert.InDelta(t, after["pswpin"], read(t, n, arc.NodeSwapIn), 64, "unless others swap as well")
	assert.InDelta(t, after["pswpout"], read(t, n, arc.NodeSwapOut), 64, "unless others swap as well")
}
