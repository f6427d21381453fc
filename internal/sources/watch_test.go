// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/sampler"
	"github.com/otelcol-reflex/reflex/internal/wake"
)

// everyStall reads the stalls and nothing else.
type everyStall struct{}

func (everyStall) Read(into *arc.Node) error {
	into[arc.NodePressureCPUSome], into[arc.NodePressureMemorySome], into[arc.NodePressureIOFull] = 1, 1, 1
	return nil
}

func requirementsOf(s *Sources) map[string]arc.Requirement {
	all := map[string]arc.Requirement{}
	for _, m := range s.Missing {
		all[m.Name] = m
	}
	return all
}

func TestWhatCannotWakeIsNamedWithItsRemedy(t *testing.T) {
	nowhere := filepath.Join(t.TempDir(), "pressure")

	s := &Sources{}
	s.openWatch(nowhere)
	assert.Nil(t, s.Watch, "nothing to look at")
	missing := requirementsOf(s)
	assert.Contains(t, missing["PSI triggers"].Cause, nowhere)
	assert.Contains(t, missing["PSI triggers"].Remedy, "psi=1")
	assert.Contains(t, missing["early wake"].Cause, "oom_kill, direct_reclaim, fork_surge")
	assert.Contains(t, missing["early wake"].Remedy, "CAP_BPF")

	s = &Sources{bpf: everyStall{}}
	s.openWatch(nowhere)
	assert.NotNil(t, s.Watch)
	missing = requirementsOf(s)
	assert.NotContains(t, missing, "PSI triggers", "BPF reads stalls: none is needed")
	assert.Contains(t, missing, "early wake")

	// Files that are there and take no trigger.
	for _, file := range []string{"cpu", "memory", "io"} {
		require.NoError(t, os.MkdirAll(filepath.Join(nowhere, file), 0o755))
	}
	s = &Sources{}
	s.openWatch(nowhere)
	assert.Contains(t, requirementsOf(s)["PSI triggers"].Remedy, "CAP_SYS_RESOURCE")
}

// Where BPF reads no stalls the kernel's triggers tell of them.
func TestWithoutBPFStallsAreSeenByTriggers(t *testing.T) {
	if err := unix.Access("/proc/pressure/cpu", unix.W_OK); err != nil || os.Geteuid() != 0 {
		t.Skip("needs to write to /proc/pressure")
	}
	before := descriptors(t)
	s := &Sources{}
	s.openWatch("/proc/pressure")
	require.NotNil(t, s.Watch, "%v", s.Missing)
	sees := s.Watch.(*wake.Watch).Sees()
	for _, c := range []wake.Cause{wake.CPUStall, wake.MemoryStall, wake.IOStall} {
		assert.True(t, sees.Has(c), c)
	}
	assert.Equal(t, before+3, descriptors(t))
	require.NoError(t, s.Close())
	assert.Equal(t, before, descriptors(t))
}

func descriptors(t *testing.T) int {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(open)
}

func TestCPUsAreThoseOfTheMachine(t *testing.T) {
	assert.GreaterOrEqual(t, onlineCPUs(), runtime.NumCPU())
	entries, err := filepath.Glob("/sys/devices/system/cpu/cpu[0-9]*")
	require.NoError(t, err)
	assert.LessOrEqual(t, onlineCPUs(), len(entries), "some may be offline")
}

func TestNothingIsWatchedForUnlessAsked(t *testing.T) {
	s := Open(Settings{NodeOnly: true}, new(sampler.SystemClock))
	defer s.Close()
	assert.Nil(t, s.Watch)
	assert.NotContains(t, requirementsOf(s), "early wake")
}

// Where BPF reads all that can wake, no trigger is set and nothing is missing.
func TestBPFSeesEveryCause(t *testing.T) {
	needBPF(t)
	s := Open(Settings{NodeOnly: true, EarlyWake: true}, new(sampler.SystemClock))
	defer s.Close()
	require.NotNil(t, s.Watch)
	assert.Equal(t, wake.Causes(1<<wake.NumCauses-1), s.Watch.(*wake.Watch).Sees())
	missing := requirementsOf(s)
	assert.NotContains(t, missing, "early wake")
	assert.NotContains(t, missing, "PSI triggers")
}

// burst makes n threads live at the same time, and end.
func burst(n int) {
	var born, gone sync.WaitGroup
	end := make(chan struct{})
	for range n {
		born.Add(1)
		gone.Go(func() {
			runtime.LockOSThread() // not unlocked: the thread ends, too
			born.Done()
			<-end
		})
	}
	born.Wait()
	close(end)
	gone.Wait()
}

// The kernel counts, the time between two looks is told: how fast this machine can
// create tasks is not what is tested.
func TestASurgeOfForksIsSeen(t *testing.T) {
	needBPF(t)
	s := Open(Settings{NodeOnly: true, EarlyWake: true}, new(sampler.SystemClock))
	defer s.Close()
	now := new(sampler.SystemClock).Now()
	surge := func(over time.Duration) wake.Causes {
		s.Watch.Look(now)
		for range onlineCPUs() {
			burst(150)
		}
		now += int64(over)
		return s.Watch.Look(now)
	}
	assert.True(t, surge(wake.Every).Has(wake.ForkSurge))
	now += int64(time.Hour)
	assert.False(t, surge(time.Hour).Has(wake.ForkSurge), "as many in an hour are none")
}

func TestAnOOMKillIsSeen(t *testing.T) {
	if os.Getenv("REFLEX_TEST_EXHAUST") == "" {
		t.Skip("REFLEX_TEST_EXHAUST is not set: this takes all memory of the machine")
	}
	needBPF(t)
	s := Open(Settings{NodeOnly: true, EarlyWake: true}, new(sampler.SystemClock))
	defer s.Close()
	command := exec.Command("/proc/self/exe")
	command.Env = append(os.Environ(), "REFLEX_TEST_LOAD=exhaust")
	require.NoError(t, command.Start())
	var begun wake.Causes
	for end := time.Now().Add(2 * time.Minute); !begun.Has(wake.OOMKill) && time.Now().Before(end); time.Sleep(wake.Every) {
		begun |= s.Watch.Look(new(sampler.SystemClock).Now())
	}
	require.ErrorContains(t, command.Wait(), "killed")
	assert.True(t, begun.Has(wake.OOMKill), "%b", begun)
	assert.True(t, begun.Has(wake.DirectReclaim), "%b", begun)
	t.Logf("begun: %b", begun)
}
