// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/episode"
)

// watched shows the status of e so many times.
func watched(t *testing.T, e *extension, columns, times int, between func()) string {
	t.Helper()
	var out bytes.Buffer
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w := &watcher{extension: &client{endpoint: serve(t, e)}, to: &out, columns: columns, now: func() time.Time { return twoInTheMorning }}
	ticks, done := make(chan time.Time), make(chan error)
	go func() { done <- w.watch(ctx, ticks) }()
	for range times {
		between()
		ticks <- twoInTheMorning
	}
	cancel()
	require.NoError(t, <-done)
	return out.String()
}

func TestStatusIsWatchedInPlaceOnATerminal(t *testing.T) {
	e := &extension{journal: episode.NewJournal(4), status: busy()}
	text := watched(t, e, 80, 2, func() {})
	assert.Equal(t, 1, strings.Count(text, clearScreen), "once, at first")
	assert.GreaterOrEqual(t, strings.Count(text, toTop), 2)
	assert.Contains(t, text, "2 containment")
	assert.NotContains(t, text, "/payment\x1b", "a name does not steer the terminal")
}

func TestWatchingGoesOnWhileTheCollectorIsAway(t *testing.T) {
	e := &extension{journal: episode.NewJournal(4), status: busy(), away: true}
	n := 0
	text := watched(t, e, 0, 3, func() {
		n++
		e.change(func(e *extension) { e.away = n < 2 })
	})
	assert.Contains(t, text, "on its way")
	assert.Contains(t, text, "2 containment")
	assert.NotContains(t, text, "\x1b", "a file is not steered")
}

// Whoever listens where the collector did need not be Reflex.
func TestAnAnswerDoesNotSteerTheTerminal(t *testing.T) {
	listen, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listen.Close()
	go func() {
		for {
			c, err := listen.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 4096))
			_, _ = io.WriteString(c, "HTTP/1.1 500 \x1b]0;owned\x07\x1b[2J\r\nContent-Length: 1\r\nConnection: close\r\n\r\n\x1b")
			_ = c.Close()
		}
	}()
	text, err := run("status", "--endpoint", "http://"+listen.Addr().String())
	require.Error(t, err)
	assert.NotContains(t, text+err.Error(), "\x1b")
	var out bytes.Buffer
	w := &watcher{extension: &client{endpoint: "http://" + listen.Addr().String()}, to: &out, now: time.Now}
	require.NoError(t, w.show(t.Context()))
	assert.Contains(t, out.String(), "500")
	assert.NotContains(t, out.String(), "\x1b")
}

func TestScoresAreDrawnAgainstTheirLimit(t *testing.T) {
	f := func(v float64) *float64 { return &v }
	at := func(score float64) moment { return moment{Score: f(score), Limit: f(5)} }
	assert.Equal(t, "▁█ ▃", sparkline([]moment{at(0), at(50), {}, at(5)}, 10))
	assert.Equal(t, "█▁", sparkline([]moment{at(0), at(500), at(0), at(0)}, 2), "the highest of its time")
}

func TestWatchingIsForPeople(t *testing.T) {
	_, err := run("status", "--watch", "--output", "json")
	require.ErrorContains(t, err, "--watch is for people")
	_, err = run("status", "--watch", "--every", "1ms")
	require.ErrorContains(t, err, "at least 100ms")
}

func TestEpisodesAreListedNewestFirst(t *testing.T) {
	j := episode.NewJournal(100)
	for _, r := range contained() {
		j.Append(r)
	}
	id := episode.ID{0xcd}
	j.Append(opened(100, id))
	j.Append(act(101, id, "/batch.service", arc.Hold, arc.VerdictObserved, 9, why))
	j.Append(episode.Record{Kind: episode.Closed, Time: at(160), Episode: id, Previous: 2})
	j.Append(opened(200, episode.ID{0xef}))
	list := func(args ...string) string {
		var out bytes.Buffer
		c := episodesCommandAt(func() time.Time { return at(230) })
		c.SetOut(&out)
		c.SetErr(&out)
		c.SetArgs(append(args, "--endpoint", serve(t, &extension{journal: j})))
		require.NoError(t, c.Execute())
		return out.String()
	}
	lines := strings.Split(strings.TrimSpace(list()), "\n")
	require.Len(t, lines, 4)
	assert.Regexp(t, `^ef000000 +2026-03-01 02:03:20 +open for 30s +1 watchfulness +nobody +–`, lines[1])
	assert.Regexp(t, `^cd000000 +2026-03-01 02:01:40 +1m0s +2 containment +/batch.service +memory.high, only observed`, lines[2])
	assert.Regexp(t, `^ab000000 .*open for .* +/payment.service +memory.high$`, lines[3])
	assert.Contains(t, list("--output", "json"), `"episode": "ab000000000000000000000000000000"`)

	j = episode.NewJournal(1)
	assert.Equal(t, "No episode is in the journal.\n", list())
	assert.Equal(t, "[]\n", list("--output", "json"))
}
