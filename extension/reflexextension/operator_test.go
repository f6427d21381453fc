// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/episode"
)

// shortDir is a directory whose name leaves room for a socket's.
func shortDir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "reflex") //nolint:usetesting // too long for a unix socket
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// listening starts a bench that listens to operators in the directory.
func listening(t *testing.T, change func(*Config)) (b *bench, socket string) {
	t.Helper()
	socket = filepath.Join(shortDir(t), "operator.sock")
	b = newBench(t, func(c *Config) {
		c.Operator.Socket = socket
		if change != nil {
			change(c)
		}
	})
	b.start()
	return b, socket
}

// over asks an operators' socket.
func over(t *testing.T, socket, method, path, body string) (int, string) {
	t.Helper()
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}}
	request, err := http.NewRequestWithContext(t.Context(), method, "http://localhost"+path, strings.NewReader(body))
	require.NoError(t, err)
	answer, err := c.Do(request)
	require.NoError(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, string(text)
}

// ticking moves time on until stop is called, as a sampler does.
func (b *bench) ticking() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			b.tick()
			time.Sleep(time.Millisecond)
		}
	}()
	return func() { cancel(); <-done }
}

func operatorRecords(b *bench) (out []episode.Record) {
	for _, r := range b.r.journal.Read(0, nil) {
		if r.Kind == episode.Operator {
			out = append(out, r)
		}
	}
	return out
}

func TestAnOperatorsReleaseReachesTheGuardAndTheJournal(t *testing.T) {
	b, socket := listening(t, enforce)
	for range 50 {
		b.tick()
	}
	b.rate = 5 * mb
	b.limit = 1400 * mb
	b.alarm.on.Store(true)
	eventually(t, "a lease is granted", func() bool {
		b.tick()
		return strings.Contains(strings.Join(kinds(records(b)), ","), "granted")
	})
	b.rate = 0
	_, body := over(t, socket, http.MethodGet, "/status", "")
	var s Status
	require.NoError(t, json.Unmarshal([]byte(body), &s))
	require.Len(t, s.Leases, 1)
	assert.Equal(t, "memory.high", s.Leases[0].Action)
	require.NotNil(t, s.Leases[0].Original)
	assert.Equal(t, arc.Unlimited, *s.Leases[0].Original)
	assert.False(t, s.Leases[0].Observed)

	order, err := json.Marshal(OperatorOrder{Action: "release", Cgroup: b.leaker, Path: "/payment.service", For: 3600, Reason: "maintenance"})
	require.NoError(t, err)
	stop := b.ticking()
	code, body := over(t, socket, http.MethodPost, "/operator", string(order))
	stop()
	require.Equal(t, http.StatusOK, code, body)
	eventually(t, "the guard is told", func() bool {
		got := b.wire.got()
		return got[len(got)-1].Verb == arc.Release
	})
	got := b.wire.got()
	assert.Contains(t, got[len(got)-1].Reason, "by an operator (uid ")
	assert.Contains(t, got[len(got)-1].Reason, ": maintenance")

	told := operatorRecords(b)
	require.Len(t, told, 1)
	var answer OperatorAnswer
	require.NoError(t, json.Unmarshal([]byte(body), &answer))
	assert.Equal(t, told[0].ID, answer.Record)
	assert.Equal(t, b.leaker, told[0].Cgroup.ID)
	assert.NotEqual(t, episode.ID{}, told[0].Episode)
	assert.Regexp(t, `^uid \d+: release /payment.service, hands off for 1h0m0s: maintenance$`, told[0].Reason)
}

func TestAnOrderThatNoTickTakesIsGivenUpAndSaidSo(t *testing.T) {
	b, socket := listening(t, enforce)
	code, body := over(t, socket, http.MethodPost, "/operator", `{"action":"release","all":true,"for":60}`)
	assert.Equal(t, http.StatusServiceUnavailable, code)
	assert.Contains(t, body, "no sample came")
	told := operatorRecords(b)
	require.Len(t, told, 1)
	assert.Contains(t, told[0].Reason, "refused: no sample came")
	b.tick()
	b.tick()
	assert.Len(t, operatorRecords(b), 1, "the tick that comes too late does nothing")
}

func TestAnOrderThatThePolicyRefusesIsOnTheRecord(t *testing.T) {
	b, socket := listening(t, enforce)
	stop := b.ticking()
	code, body := over(t, socket, http.MethodPost, "/operator", `{"action":"release","cgroup":7}`)
	stop()
	assert.Equal(t, http.StatusConflict, code)
	assert.Contains(t, body, "no episode is open")
	told := operatorRecords(b)
	require.Len(t, told, 1)
	assert.Contains(t, told[0].Reason, "release cgroup 7, hands off for this episode; refused: no episode is open")
}

func TestWhatWasDoneElsewhereIsRecorded(t *testing.T) {
	b, socket := listening(t, nil)
	code, _ := over(t, socket, http.MethodPost, "/operator", `{"action":"record","what":"kill switch on","reason":"incident 42"}`)
	require.Equal(t, http.StatusOK, code)
	told := operatorRecords(b)
	require.Len(t, told, 1)
	assert.Regexp(t, `^uid \d+: kill switch on: incident 42$`, told[0].Reason)
}

func TestOrdersThatCannotBeMeantAreRefused(t *testing.T) {
	b, socket := listening(t, nil)
	for body, want := range map[string]string{
		`{`:                             "order:",
		`{"action":"reboot"}`:           "must be release or record",
		`{"action":"release"}`:          "name one cgroup, or all",
		`{"action":"release","cgrp":7}`: "unknown field",
		`{"action":"record"}`:           "nothing to record",
		`{"action":"release","cgroup":7,"all":true}`:                                 "name one cgroup, or all",
		`{"action":"release","cgroup":7,"for":-1}`:                                   "for: must be",
		`{"action":"release","cgroup":7,"for":1e9}`:                                  "for: must be",
		`{"action":"release","cgroup":7,"for":1e300}`:                                "for: must be",
		`{"action":"record","what":"` + strings.Repeat("x", 200) + `"}`:              "120 bytes each",
		`{"action":"record","what":"x","reason":"` + strings.Repeat("x", 200) + `"}`: "120 bytes each",
		`{"action":"record","what":"` + strings.Repeat("x", 5000) + `"}`:             "too large",
	} {
		code, text := over(t, socket, http.MethodPost, "/operator", body)
		assert.Equal(t, http.StatusBadRequest, code, body)
		assert.Contains(t, text, want, body)
	}
	assert.Empty(t, operatorRecords(b))
	code, _ := over(t, socket, http.MethodGet, "/operator", "")
	assert.Equal(t, http.StatusMethodNotAllowed, code)
	code, text := over(t, socket, http.MethodGet, "/journal", "")
	assert.Equal(t, http.StatusOK, code)
	assert.Equal(t, "[]\n", text)
}

func TestOrdersAreNotTakenOverTCP(t *testing.T) {
	b, _ := listening(t, nil)
	answer, err := http.Post("http://"+b.r.page.listen.Addr().String()+"/operator", "application/json", bytes.NewReader([]byte(`{"action":"record","what":"x"}`)))
	require.NoError(t, err)
	defer answer.Body.Close()
	assert.Equal(t, http.StatusNotFound, answer.StatusCode)
	assert.Empty(t, operatorRecords(b))
}

func TestOnlyRootAndTheCollectorsUserGiveOrders(t *testing.T) {
	b := newBench(t, nil)
	o := &operators{r: b.r, uid: 1000}
	handler := o.admit(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	ask := func(ctx context.Context) int {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, (&http.Request{}).WithContext(ctx))
		return w.Code
	}
	as := func(uid uint32) context.Context { return context.WithValue(t.Context(), peerKey{}, uid) }
	assert.Equal(t, http.StatusTeapot, ask(as(0)))
	assert.Equal(t, http.StatusTeapot, ask(as(1000)))
	assert.Equal(t, http.StatusForbidden, ask(as(1001)))
	assert.Equal(t, http.StatusForbidden, ask(t.Context()), "who it is is not known")
}

func TestTheOperatorsSocketIsTheirs(t *testing.T) {
	_, socket := listening(t, nil)
	info, err := os.Stat(socket)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	assert.Equal(t, os.Geteuid(), int(info.Sys().(*syscall.Stat_t).Uid))
}

func TestASocketThatCannotBeMadeIsSaidAndNoReasonNotToStart(t *testing.T) {
	taken := filepath.Join(shortDir(t), "file")
	require.NoError(t, os.WriteFile(taken, []byte("precious"), 0o600))
	b := newBench(t, func(c *Config) { c.Operator.Socket = taken })
	b.start()
	s := b.r.status()
	assert.Equal(t, taken, s.Operator.Socket)
	assert.Contains(t, s.Operator.Cause, "is no socket")
	text, err := os.ReadFile(taken)
	require.NoError(t, err)
	assert.Equal(t, "precious", string(text))
}

func TestTheLedgerIsBoundedAndForgetsWhatIsOver(t *testing.T) {
	var l ledger
	hold := func(id uint64, v arc.Verdict) {
		l.note(&arc.Order{Cgroup: id, Action: arc.ActionMemoryHigh}, &arc.Outcome{Verdict: v, Original: id})
	}
	for id := range uint64(3 * ledgerSize) {
		hold(id+1, arc.VerdictGranted)
	}
	assert.Len(t, l.answers, ledgerSize)
	hold(7000, arc.VerdictGranted)
	hold(7000, arc.VerdictFailed)
	out, known := l.find(7000, arc.ActionMemoryHigh)
	assert.True(t, known, "a failed renewal tells nothing")
	assert.Equal(t, uint64(7000), out.Original)
	for _, over := range []arc.Verdict{arc.VerdictReleased, arc.VerdictLost, arc.VerdictRefused} {
		hold(7000, arc.VerdictHeld)
		hold(7000, over)
		_, known = l.find(7000, arc.ActionMemoryHigh)
		assert.False(t, known, over)
	}
	hold(7000, arc.VerdictObserved)
	l.note(&arc.Order{Cgroup: 7000, Action: arc.ActionMemoryHigh, Verb: arc.Release}, &arc.Outcome{Verdict: arc.VerdictObserved})
	_, known = l.find(7000, arc.ActionMemoryHigh)
	assert.False(t, known, "an observed release")
}
