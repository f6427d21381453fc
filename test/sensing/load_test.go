// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package sensing

import (
	"context"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestLoadsCountWhatTheyDo(t *testing.T) {
	for _, role := range []func(time.Duration) (Work, error){systemCalls, network} {
		w, err := role(20 * time.Millisecond)
		require.NoError(t, err)
		assert.Positive(t, w.Operations)
		assert.InDelta(t, 0.02, w.Seconds, 1)
		assert.Positive(t, w.rate())
	}
	assert.ErrorContains(t, Role("nothing", time.Second), "nothing")
}

func TestALoadThatIsInterruptedTakesItsProcessesWithIt(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, _, err := output(exec.CommandContext(ctx, "/bin/sh", "-c", "sleep 30 & sleep 30"))
	require.ErrorContains(t, err, "killed")
	assert.Less(t, time.Since(start), 4*time.Second, "nobody holds the output open")
}

func TestPerfTellsSeconds(t *testing.T) {
	w, err := parsePipes(1000, "0.500\n")
	require.NoError(t, err)
	assert.InDelta(t, 2000, w.rate(), 1e-9)
	for _, bad := range []string{"", "none", "0", "# Running"} {
		_, err := parsePipes(1000, bad)
		assert.ErrorContains(t, err, "perf bench said")
	}
}

func TestALoadOnOneCPUGivesTheOthersBack(t *testing.T) {
	var before, during, after unix.CPUSet
	require.NoError(t, unix.SchedGetaffinity(0, &before))
	_, err := onOneCPU(func() (int, error) {
		return 0, unix.SchedGetaffinity(0, &during)
	})
	require.NoError(t, err)
	require.NoError(t, unix.SchedGetaffinity(0, &after))
	assert.Equal(t, 1, during.Count())
	assert.Equal(t, before, after)
}

func TestSharesAreOfTheTimeThatPassed(t *testing.T) {
	before := map[string]count{"a": {10, time.Second}, "c": {5, time.Second}}
	after := map[string]count{"a": {110, time.Second + 10*time.Millisecond}, "b": {4, 20 * time.Millisecond}, "c": {5, time.Second}}
	got := sharesOf(differences(before, after), 2*time.Second)
	assert.Equal(t, []Share{
		{Program: "b", Rate: 2, NS: 5e6, CPU: 1},
		{Program: "a", Rate: 50, NS: 1e5, CPU: 0.5},
	}, got, "what did not run has no share")
}

func TestTheMeanOfAProgramWeighsItsRuns(t *testing.T) {
	rows := rank([]map[string]count{
		{"b": {1, 100}, emptyProgram: {1, 20}},
		{"b": {3, 900}, "a": {2, 80}},
	})
	require.Len(t, rows, 3)
	assert.Equal(t, "a", rows[0].Name)
	assert.Equal(t, emptyProgram, rows[2].Name, "the one that does nothing comes last")
	assert.Equal(t, 250.0, rows[1].NS)
	assert.Equal(t, uint64(4), rows[1].Runs)
	assert.Equal(t, 200.0, rows[1].Spread.Median, "the batches': 100 and 300")
}

func TestNamesThatTheKernelCutAreWhole(t *testing.T) {
	assert.Equal(t, "count_retransmit", whole("count_retransmi"))
	assert.Equal(t, "count_fork", whole("count_fork"))
	assert.Equal(t, "somebody_elses_", whole("somebody_elses_"))
}
