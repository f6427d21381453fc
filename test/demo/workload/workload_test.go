// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/test/demo/recording"
)

// serve runs a service until the test ends and returns its address.
func serve(t *testing.T, s *Service) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, strings.NewReader(""), in) }()
	t.Cleanup(func() {
		cancel()
		assert.NoError(t, <-done)
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	address, ok := strings.CutPrefix(strings.TrimSpace(line), "ready ")
	require.True(t, ok, line)
	return address
}

// collect asks targets until n answers came.
func collect(t *testing.T, c Client, n int, targets ...Target) []recording.Answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var mu sync.Mutex
	var answers []recording.Answer
	c.Run(ctx, targets, func(a recording.Answer) {
		mu.Lock()
		defer mu.Unlock()
		answers = append(answers, a)
		if len(answers) == n {
			cancel()
		}
	})
	return answers
}

func TestAServiceAnswersAClient(t *testing.T) {
	address := serve(t, &Service{Resident: 1 << 20, Work: 4096})
	c := Client{Rate: 400, Deadline: 5 * time.Second, Connections: 4, Queue: 64}
	for _, a := range collect(t, c, 100, Target{recording.Payment, address}) {
		assert.True(t, a.OK)
		assert.Positive(t, a.Latency)
		assert.Equal(t, recording.Payment, a.Service)
	}
}

func TestADeadServiceIsAskedAllTheSame(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	c := Client{Rate: 400, Deadline: time.Second, Connections: 2, Queue: 64}
	answers := collect(t, c, 50, Target{recording.Payment, l.Addr().String()})
	assert.GreaterOrEqual(t, len(answers), 50)
	for _, a := range answers {
		assert.False(t, a.OK)
	}
}

func TestASilentServiceCostsTheDeadlineFromWhenTheRequestWasDue(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts in the kernel, never answers
	require.NoError(t, err)
	defer l.Close()
	const deadline = 100 * time.Millisecond
	// One connection and many requests: the later ones wait for the earlier.
	c := Client{Rate: 100, Deadline: deadline, Connections: 1, Queue: 64}
	for _, a := range collect(t, c, 20, Target{recording.Payment, l.Addr().String()}) {
		assert.False(t, a.OK)
		assert.GreaterOrEqual(t, a.Latency, int64(deadline))
	}
}

func TestWithoutAQueueNobodyWaitsForAConnection(t *testing.T) {
	address := serve(t, &Service{Wait: 50 * time.Millisecond})
	c := Client{Rate: 200, Deadline: 5 * time.Second, Connections: 1}
	answers := collect(t, c, 40, Target{"shop", address})
	turnedAway := 0
	for _, a := range answers {
		if !a.OK {
			turnedAway++
			continue
		}
		assert.Less(t, a.Latency, int64(2*time.Second), "its turn came at once")
	}
	assert.Positive(t, turnedAway)
	assert.Less(t, turnedAway, len(answers), "and somebody was answered")
}

// A request that leaks does so from the order on, and what a request takes only for
// itself it gives back.
func TestRequestsTakeMemoryAndLeakIt(t *testing.T) {
	s := Service{Churn: 64 << 10, LeakRequest: 3 * pageSize, OnsetFile: filepath.Join(t.TempDir(), "onset")}
	require.NoError(t, s.request())
	assert.Zero(t, s.leaked.next.Load(), "not before the order")
	s.obey(strings.NewReader("leak 0\n"))
	require.Eventually(t, func() bool { return s.leaking.Load() }, 5*time.Second, time.Millisecond)
	for range 10 {
		require.NoError(t, s.request())
	}
	assert.EqualValues(t, 30*pageSize, s.leaked.next.Load())
	text, err := os.ReadFile(s.OnsetFile)
	require.NoError(t, err)
	assert.Len(t, strings.Fields(string(text)), 2)
}

func TestTheScheduleIsThatOfTheSeed(t *testing.T) {
	address := serve(t, &Service{})
	gaps := func(seed uint64) (gaps []int64) {
		c := Client{Rate: 500, Deadline: 5 * time.Second, Seed: seed, Connections: 1, Queue: 64}
		answers := collect(t, c, 30, Target{recording.Payment, address})
		for i := 1; i < 30; i++ {
			gaps = append(gaps, answers[i].Intended-answers[i-1].Intended)
		}
		return gaps
	}
	first, again := gaps(7), gaps(7)
	assert.Equal(t, first, again)
	assert.NotEqual(t, gaps(7), gaps(8))
}

func TestAPieceIsWithinTheWorkingSet(t *testing.T) {
	set := make([]byte, 10*pageSize)
	for number := range uint64(1000) {
		assert.Len(t, piece(set, 2*pageSize, number), 2*pageSize)
	}
	assert.Len(t, piece(set[:100], pageSize, 1), 100)
}

func TestASecondIsToldOnce(t *testing.T) {
	tally := NewTally(0)
	for i := range 200 {
		tally.Record(recording.Answer{Service: recording.Neighbour, Latency: int64(i+1) * 1e6, OK: true})
		tally.Record(recording.Answer{Service: recording.Payment, OK: i%2 == 0})
	}
	assert.Equal(t, Second{Payment: 100, Neighbour: 200, NeighbourP99: 198}, tally.Second())
	assert.Equal(t, Second{}, tally.Second())
	assert.Len(t, tally.Answers(), 400)
}
