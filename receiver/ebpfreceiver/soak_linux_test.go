// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package ebpfreceiver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
	"github.com/otelcol-reflex/reflex/receiver/ebpfreceiver/internal/metadata"
)

const (
	// places is how many cgroups there are at a time, placesOfGroup how many of
	// them share a parent.
	places        = 200
	placesOfGroup = 20
	// workEvery is how many cgroups there are to one in which a process runs.
	workEvery = 10
	// heapMargin and residentMargin are what memory may grow by from a third of
	// the soak to its end. Remembering a hundred bytes of every cgroup would be
	// 1.3 MB in the long soak.
	heapMargin     = 256 << 10
	residentMargin = 6 << 20
)

// work uses a few milliseconds of CPU time.
const work = "i=0; while [ $i -lt 5000 ]; do i=$((i+1)); done"

// churn makes and removes cgroups in a tree of its own, each at a path where
// another has been.
type churn struct {
	t      *testing.T
	root   string
	ledger *ledger
	places [places]place
	made   int
	worked int // in how many of those buried a process had run
}

// place is a path and the cgroup that is there now.
type place struct {
	path string
	id   uint64 // 0 for none
	pid  int    // 0 for none
}

func newChurn(t *testing.T, l *ledger) *churn {
	t.Helper()
	mount, err := cgroupfs.FindRoot()
	require.NoError(t, err)
	c := &churn{t: t, ledger: l, root: filepath.Join(mount, fmt.Sprintf("reflex-soak-%d", os.Getpid()))}
	c.make("/", true)
	t.Cleanup(func() { assert.NoError(t, unix.Rmdir(c.root)) })
	for group := range places / placesOfGroup {
		path := fmt.Sprintf("/group%d", group)
		c.make(path, true)
		t.Cleanup(func() { assert.NoError(t, unix.Rmdir(c.root+path)) })
	}
	for i := range c.places {
		c.places[i].path = fmt.Sprintf("/group%d/place%d", i/placesOfGroup, i)
	}
	t.Cleanup(func() {
		for i := range c.places {
			c.remove(&c.places[i])
		}
	})
	return c
}

// make makes a cgroup and enters it in the ledger.
func (c *churn) make(path string, worked bool) uint64 {
	c.t.Helper()
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	whole := filepath.Join(c.root, path)
	require.NoError(c.t, os.Mkdir(whole, 0o755))
	var st unix.Stat_t
	require.NoError(c.t, unix.Stat(whole, &st))
	c.ledger.bear(st.Ino, path, worked)
	return st.Ino
}

// turn replaces the cgroup at the next place by another at the same path.
func (c *churn) turn() {
	c.t.Helper()
	p := &c.places[c.made%places]
	old := p.id
	c.remove(p)
	busy := c.made%workEvery == 0
	p.id = c.make(p.path, busy)
	assert.NotEqual(c.t, old, p.id, "a cgroup made anew is another cgroup")
	if busy {
		p.pid = c.start(p.path)
	}
	c.made++
}

// start runs the work in a cgroup.
func (c *churn) start(path string) int {
	c.t.Helper()
	directory, err := os.Open(c.root + path)
	require.NoError(c.t, err)
	defer directory.Close()
	pid, err := syscall.ForkExec("/bin/sh", []string{"sh", "-c", work}, &syscall.ProcAttr{
		Sys: &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(directory.Fd())},
	})
	require.NoError(c.t, err)
	return pid
}

// remove awaits the process at a place and removes the cgroup.
func (c *churn) remove(p *place) {
	c.t.Helper()
	if p.pid != 0 {
		_, err := syscall.Wait4(p.pid, nil, 0, nil)
		assert.NoError(c.t, err)
	}
	if p.id == 0 {
		return
	}
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	if p.pid != 0 {
		c.worked++
		if c.ledger.lives[p.id].cpu == 0 && c.ledger.lives[p.id].sample != 0 {
			c.ledger.fault("a process has run in %s (%d), but its time was never seen", p.path, p.id)
		}
	}
	var err error
	if !poll(func() bool { err = unix.Rmdir(c.root + p.path); return !errors.Is(err, unix.EBUSY) }) || err != nil {
		c.t.Errorf("remove %s: %v", p.path, err)
	}
	c.ledger.bury(p.id)
	*p = place{path: p.path}
}

// dying is how many removed cgroups the kernel cannot yet put away because
// somebody still refers to them.
func (c *churn) dying() int {
	text, err := os.ReadFile(filepath.Join(c.root, "cgroup.stat"))
	require.NoError(c.t, err)
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "nr_dying_descendants "); ok {
			n, err := strconv.Atoi(strings.TrimSpace(value))
			require.NoError(c.t, err)
			return n
		}
	}
	return 0
}

// run makes total cgroups at an even pace over span, and calls third when a third
// is done.
func (c *churn) run(ctx context.Context, total int, span time.Duration, third func()) {
	c.t.Helper()
	start := time.Now()
	for i := range total {
		due := start.Add(span * time.Duration(i) / time.Duration(total))
		select {
		case <-ctx.Done():
			c.t.Fatal("interrupted")
		case <-time.After(time.Until(due)):
		}
		c.turn()
		if i == total/3 {
			third()
		}
		if i > 0 && i%(total/10) == 0 {
			m := memoryInUse(c.t)
			c.t.Logf("%v: %d cgroups made, heap %d KiB, resident %d KiB, %d samples", time.Since(start).Round(time.Second),
				i, m.heap>>10, m.resident>>10, c.ledger.count())
		}
	}
}

func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.samples
}

// inUse is the memory of this process that is in use.
type inUse struct{ heap, resident int64 } // bytes

// memoryInUse is the least of a few looks: a delivery of every cgroup that happens
// to be under way is some hundred KiB and no growth.
func memoryInUse(t *testing.T) inUse {
	t.Helper()
	least := memoryAtOnce(t)
	for range 4 {
		time.Sleep(70 * time.Millisecond) // no divisor of the second between deliveries
		now := memoryAtOnce(t)
		least.heap, least.resident = min(least.heap, now.heap), min(least.resident, now.resident)
	}
	return least
}

func memoryAtOnce(t *testing.T) inUse {
	t.Helper()
	runtime.GC()
	debug.FreeOSMemory() // collects once more, what finalizers have let go
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	text, err := os.ReadFile("/proc/self/statm")
	require.NoError(t, err)
	fields := bytes.Fields(text)
	require.Greater(t, len(fields), 1)
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	require.NoError(t, err)
	return inUse{int64(stats.HeapAlloc), pages * int64(os.Getpagesize())}
}

// A tenth of `make soak-sensing`, whose numbers come by REFLEX_SOAK_CGROUPS and
// REFLEX_SOAK_SECONDS.
func TestCgroupsComeAndGoForLong(t *testing.T) {
	needBPF(t)
	total, seconds := 2000, 60
	if testing.Short() {
		total, seconds = 600, 18 // each place is used three times
	}
	total = setting(t, "REFLEX_SOAK_CGROUPS", total)
	span := time.Duration(setting(t, "REFLEX_SOAK_SECONDS", seconds)) * time.Second
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	l := newLedger()
	c := newChurn(t, l)
	before := holding(t)
	cfg := createDefaultConfig().(*Config)
	cfg.CgroupRoot = c.root
	cfg.FullSweepInterval, cfg.EmitInterval = time.Second, 0
	cfg.CgroupNetwork.Enabled = true
	r, err := newReceiver(receivertest.NewNopSettings(metadata.Type), cfg, l)
	require.NoError(t, err)
	require.NoError(t, r.Start(ctx, host{component.MustNewID("reflex"): l}))
	defer func() { require.NoError(t, r.Shutdown(context.Background())) }()

	var third inUse
	var thirdHeld held
	c.run(ctx, total, span, func() { third, thirdHeld = memoryInUse(t), holding(t) })

	end, endHeld := memoryInUse(t), holding(t)
	assert.LessOrEqual(t, end.heap, third.heap+heapMargin, "the heap is flat")
	assert.LessOrEqual(t, end.resident, third.resident+residentMargin, "resident memory is flat")
	assert.Equal(t, thirdHeld.objects, endHeld.objects, "BPF objects are those there were")
	assert.LessOrEqual(t, endHeld.locked, thirdHeld.locked, "and no larger")
	assert.True(t, poll(func() bool { return c.dying() == 0 || cgroupfs.HasController(c.root, "memory") }),
		"%d removed cgroups are still referred to", c.dying())
	c.verdict(span)

	require.NoError(t, r.Shutdown(context.Background()))
	requireAsBefore(t, before)
	requireGone(t, endHeld.objects)
	t.Logf("%d cgroups in %v: heap %+d KiB, resident %+d KiB from a third on; %d samples, %d cgroups named, %d had worked",
		c.made, span, (end.heap-third.heap)>>10, (end.resident-third.resident)>>10, l.samples, l.named, c.worked)
}

// verdict fails on every fault, and where too little was compared.
func (c *churn) verdict(span time.Duration) {
	l := c.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, fault := range l.faults {
		c.t.Error(fault)
	}
	if l.more > 0 {
		c.t.Errorf("and %d more like these", l.more)
	}
	assert.Greater(c.t, l.samples, int(span/(500*time.Millisecond)), "samples were compared")
	assert.Greater(c.t, l.named, c.made/2, "most cgroups were in a delivery")
	assert.Positive(c.t, c.worked, "and in some a process had run")
}
