// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/extension/reflexextension"
	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
	"github.com/otelcol-reflex/reflex/internal/episode"
	"github.com/otelcol-reflex/reflex/internal/guard"
	"github.com/otelcol-reflex/reflex/internal/words"
)

// node is a tree of cgroups, a guard that holds knobs in it behind its socket,
// and a collector's operators' socket.
type node struct {
	t    *testing.T
	dir  string // of everything
	root string // of the cgroups
	g    *guard.Guard

	later   atomic.Int64 // what the guard's clock is ahead, in ns
	network guard.Network
	other   int // added to this user's id: the collector's is another's

	extension *extension
	orders    []reflexextension.OperatorOrder
	answer    int // to orders, where it is not 200
	obey      func(o reflexextension.OperatorOrder)
}

func newNode(t *testing.T) *node {
	t.Helper()
	dir, err := os.MkdirTemp("", "reflexctl") //nolint:usetesting // too long for a unix socket
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	n := &node{t: t, dir: dir, root: filepath.Join(dir, "cgroup")}
	require.NoError(t, os.Mkdir(n.root, 0o755))
	return n
}

func (n *node) at(name string) string { return filepath.Join(n.dir, name) }

// cgroup makes one that uses 100 MiB and returns its id.
func (n *node) cgroup(path string) uint64 {
	n.t.Helper()
	at := filepath.Join(n.root, path)
	require.NoError(n.t, os.MkdirAll(at, 0o755))
	for file, text := range map[string]string{
		"memory.high": "max", "memory.max": "max", "memory.current": strconv.Itoa(100 << 20), "memory.stat": "anon 0\nfile 0\n",
		"cgroup.procs": "", "cgroup.type": "domain", "cgroup.events": "populated 1",
	} {
		require.NoError(n.t, os.WriteFile(filepath.Join(at, file), []byte(text+"\n"), 0o644))
	}
	var st unix.Stat_t
	require.NoError(n.t, unix.Stat(at, &st))
	return st.Ino
}

func (n *node) high(path string) string {
	n.t.Helper()
	text, err := os.ReadFile(filepath.Join(n.root, path, "memory.high"))
	require.NoError(n.t, err)
	return strings.TrimSpace(string(text))
}

// guard starts one and serves it.
func (n *node) guard() *node {
	n.t.Helper()
	var err error
	n.g, err = guard.New(guard.Config{
		Root: n.root, KillSwitch: n.at("off"), Attributes: &cgroupfs.Memory{}, Clock: func() int64 { return int64(n.now()) },
		Network: n.network,
	})
	require.NoError(n.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	served, ran := make(chan error, 1), make(chan error, 1)
	go func() { served <- guard.Serve(ctx, n.g, n.at("guard.sock"), os.Geteuid()+n.other) }()
	go func() { ran <- n.g.Run(ctx) }()
	n.t.Cleanup(func() {
		cancel()
		assert.NoError(n.t, <-served)
		assert.NoError(n.t, <-ran)
		assert.NoError(n.t, n.g.Close())
	})
	n.eventually(func() bool { _, err := guardStatus(ctx, n.at("guard.sock")); return err == nil })
	return n
}

func (n *node) eventually(cond func() bool) {
	n.t.Helper()
	for end := time.Now().Add(10 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		require.False(n.t, time.Now().After(end), "it never happened")
	}
}

// now is the guard's clock: CLOCK_BOOTTIME, and later.
func (n *node) now() uint64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(err)
	}
	return uint64(ts.Nano() + n.later.Load())
}

// hold takes a lease, decided at an instant, and returns the guard's answer.
func (n *node) hold(cgroup, generation uint64, observe bool) arc.Outcome {
	n.t.Helper()
	var out arc.Outcome
	require.NoError(n.t, n.g.Act(n.t.Context(), arc.Order{
		Cgroup: cgroup, Action: arc.ActionMemoryHigh, Parameter: 160 << 20, TTL: int64(time.Minute),
		Generation: generation, Observe: observe, Reason: "it grows",
	}, &out))
	return out
}

// collector serves a fake operators' socket.
func (n *node) collector() *node {
	n.t.Helper()
	n.extension = &extension{journal: episode.NewJournal(100)}
	listen, err := net.Listen("unix", n.at("operator.sock"))
	require.NoError(n.t, err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/operator" {
			n.extension.ServeHTTP(w, r)
			return
		}
		var o reflexextension.OperatorOrder
		d := json.NewDecoder(r.Body)
		d.DisallowUnknownFields()
		if err := d.Decode(&o); err != nil || r.Method != http.MethodPost {
			http.Error(w, "no order", http.StatusBadRequest)
			return
		}
		n.extension.change(func(*extension) { n.orders = append(n.orders, o) })
		if n.answer != 0 {
			http.Error(w, "not now", n.answer)
			return
		}
		if n.obey != nil {
			n.obey(o)
		}
		_ = json.NewEncoder(w).Encode(reflexextension.OperatorAnswer{Record: 7})
	}), ReadHeaderTimeout: time.Second}
	go func() { _ = server.Serve(listen) }()
	n.t.Cleanup(func() { _ = server.Close() })
	return n
}

func (n *node) got() (out []reflexextension.OperatorOrder) {
	n.extension.change(func(*extension) { out = append(out, n.orders...) })
	return out
}

// run runs a command of an operator on this node.
func (n *node) run(args ...string) (string, error) {
	return run(append(args, "--guard-socket", n.at("guard.sock"), "--operator-socket", n.at("operator.sock"))...)
}

func TestLeasesAreTheGuardsWhereItAnswers(t *testing.T) {
	n := newNode(t).guard()
	payment, other := n.cgroup("payment.service"), n.cgroup("other.service")
	require.Equal(t, arc.VerdictGranted, n.hold(payment, n.now(), false).Verdict)
	require.Equal(t, arc.VerdictObserved, n.hold(other, n.now(), true).Verdict)
	text, err := run("leases", "--guard-socket", n.at("guard.sock"))
	require.NoError(t, err)
	assert.Regexp(t, `/payment\.service +\d+ +memory\.high +max +160 MiB +(1m0s|59\.\ds) +real +it grows`, text)
	assert.Regexp(t, `/other\.service .* observed +it grows`, text)
	assert.Contains(t, text, "says the guard")

	text, err = run("leases", "-o", "json", "--guard-socket", n.at("guard.sock"))
	require.NoError(t, err)
	var h struct {
		Source string
		Leases []map[string]any
	}
	require.NoError(t, json.Unmarshal([]byte(text), &h))
	assert.Equal(t, "guard", h.Source)
	require.Len(t, h.Leases, 2)
	for _, l := range h.Leases {
		if l["path"] == "/payment.service" {
			assert.Equal(t, "max", l["original"])
			assert.InDelta(t, 160<<20, l["value"], 0)
			assert.Equal(t, false, l["observed"])
			assert.InDelta(t, 60, l["ends_in"], 5)
		}
	}
}

func TestLeasesAreTheCollectorsWhereNoGuardAnswers(t *testing.T) {
	n := newNode(t)
	original := uint64(1 << 30)
	s := busy()
	s.Leases[0].Original, s.Leases[0].Observed = &original, true
	endpoint := serve(t, &extension{journal: episode.NewJournal(4), status: s})
	text, err := run("leases", "--guard-socket", n.at("guard.sock"), "--endpoint", endpoint)
	require.NoError(t, err)
	assert.Regexp(t, `memory\.high +1 GiB +160 MiB +12\.5s +observed +it grows`, text)
	assert.Contains(t, text, "says the collector")
	assert.NotContains(t, text, "\x1b")

	s.Leases[0].Original = nil
	text, err = run("leases", "-o", "json", "--guard-socket", n.at("guard.sock"), "--endpoint", serve(t, &extension{journal: episode.NewJournal(4), status: s}))
	require.NoError(t, err)
	assert.NotContains(t, text, "original", "before the guard has answered it is not known")
}

func TestALeaseThatIsBeingWrittenIsLookedAtAgain(t *testing.T) {
	busy := guard.Status{Leases: []guard.Lease{{Cgroup: 7, Knob: "memory.high", Busy: true}}}
	done := guard.Status{Leases: []guard.Lease{{Cgroup: 7, Knob: "memory.high", Path: "/payment", Original: 2, Value: 1}}}
	asked := 0
	h, err := settled(t.Context(), func() (guard.Status, error) {
		if asked++; asked < 3 {
			return busy, nil
		}
		return done, nil
	})
	require.NoError(t, err)
	assert.Equal(t, 3, asked)
	assert.Equal(t, "/payment", h.Leases[0].Path)

	asked = 0
	h, err = settled(t.Context(), func() (guard.Status, error) { asked++; return busy, nil })
	require.NoError(t, err)
	assert.Equal(t, looks, asked, "not for ever")
	require.True(t, h.incomplete())
	var s status
	text, err := json.Marshal(reflexextension.Status{Leases: []reflexextension.LeaseStatus{
		{Cgroup: 8, Path: "/other", Action: "memory.high"}, {Cgroup: 7, Path: "/payment", Action: "memory.high", Ceiling: 1, Reason: "it grows"},
	}})
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &s))
	h.complete(&s)
	assert.Equal(t, "/payment", h.Leases[0].Path, "the collector knows what it ordered")
	assert.Equal(t, "it grows", h.Leases[0].Reason)
	assert.False(t, h.incomplete())
}

func TestNoLeasesAndNobodyToAsk(t *testing.T) {
	n := newNode(t).guard()
	text, err := run("leases", "--guard-socket", n.at("guard.sock"))
	require.NoError(t, err)
	assert.Equal(t, "nothing is held, says the guard\n", text)
	_, err = run("leases", "--guard-socket", n.at("nobody.sock"), "--endpoint", "http://127.0.0.1:1")
	require.ErrorContains(t, err, "run as root")
	assert.Equal(t, exitFailed, exitCode(err))
}

func TestReleaseTellsTheCollectorAndTheGuardConfirms(t *testing.T) {
	n := newNode(t).guard().collector()
	id := n.cgroup("system.slice/payment.service")
	require.Equal(t, arc.VerdictGranted, n.hold(id, n.now(), false).Verdict)
	n.obey = func(o reflexextension.OperatorOrder) {
		var out arc.Outcome
		_ = n.g.Act(context.Background(), arc.Order{Cgroup: o.Cgroup, Action: arc.ActionMemoryHigh, Verb: arc.Release, Generation: n.now()}, &out)
	}
	n.cgroup("payment.service")
	text, err := n.run("release", "/system.slice/payment.service", "--for", "1h", "--reason", "maintenance")
	require.NoError(t, err)
	assert.Contains(t, text, "/system.slice/payment.service: nothing is held any more, says the guard; hands off for 1h0m0s (journal record 7)")
	assert.Equal(t, []reflexextension.OperatorOrder{{
		Action: "release", Cgroup: id, Path: "/system.slice/payment.service", For: 3600, Reason: "maintenance",
	}}, n.got())
	assert.Equal(t, "max", n.high("system.slice/payment.service"))

	text, err = n.run("release", "payment.service", "--cgroup-root", n.root, "--for", "1h", "--output", "json")
	require.NoError(t, err)
	assert.JSONEq(t, fmt.Sprintf(`{"target": "/payment.service", "cgroup": %d, "confirmed": true, "by": "guard", "hands_off_s": 3600, "journal_record": 7}`, n.cgroup("payment.service")), text)
	text, err = n.run("release", "--all")
	require.NoError(t, err)
	assert.Contains(t, text, "everything: nothing is held any more, says the guard; hands off until this episode is over")
	assert.True(t, n.got()[2].All)
}

func TestReleaseThatDoesNotShowIsNotConfirmed(t *testing.T) {
	n := newNode(t).guard().collector()
	id := n.cgroup("payment.service")
	n.hold(id, n.now(), false)
	o := &operator{socket: n.at("operator.sock"), guard: n.at("guard.sock"), patience: 50 * time.Millisecond}
	c := &cobra.Command{}
	c.SetContext(t.Context())
	r, err := o.release(c, &target{cgroup: id, path: "/payment.service"}, time.Hour)
	require.ErrorIs(t, err, errUnconfirmed)
	assert.Equal(t, &released{Target: "/payment.service", Cgroup: id, By: "guard", HandsOff: 3600, Record: 7}, r)
	require.ErrorContains(t, err, "kill-switch on")
	assert.Equal(t, exitUnconfirmed, exitCode(err))
}

func TestReleaseAtTheGuardWhereTheCollectorDoesNotAnswer(t *testing.T) {
	n := newNode(t).guard()
	id, other := n.cgroup("payment.service"), n.cgroup("other.service")
	require.Equal(t, arc.VerdictGranted, n.hold(id, n.now(), false).Verdict)
	require.Equal(t, arc.VerdictGranted, n.hold(other, n.now(), false).Verdict)

	text, err := n.run("release", "/payment.service", "--for", "1h")
	require.NoError(t, err)
	assert.Contains(t, text, "telling the guard")
	assert.Contains(t, text, "1 leases given back by the guard, which refuses older orders about them for 1h0m0s; not in the journal")
	assert.Equal(t, "max", n.high("payment.service"))
	assert.NotEqual(t, "max", n.high("other.service"), "nobody else's")

	n.later.Store(int64(59 * time.Minute))
	again := n.hold(id, n.now(), false)
	assert.Equal(t, arc.VerdictRefused, again.Verdict, "a policy that goes on is refused")
	n.later.Store(int64(61 * time.Minute))
	later := n.hold(id, n.now(), false)
	assert.Equal(t, arc.VerdictGranted, later.Verdict, "and is not when the time is over: %s", later.Cause)
}

func TestReleaseOfEverythingAtTheGuardKeepsHandsOffWhatWasHeld(t *testing.T) {
	n := newNode(t).guard()
	granted := n.now()
	cgroups := []uint64{n.cgroup("payment.service"), n.cgroup("other.service")}
	for _, id := range cgroups {
		require.Equal(t, arc.VerdictGranted, n.hold(id, granted, false).Verdict)
	}
	text, err := n.run("release", "--all")
	require.NoError(t, err)
	assert.Contains(t, text, "2 leases given back by the guard")
	for _, id := range cgroups {
		assert.Equal(t, arc.VerdictRefused, n.hold(id, granted, false).Verdict, "a collector that renews is refused")
	}
	assert.Equal(t, "max", n.high("payment.service"))
}

func TestHandsOffAtTheGuardBeforeAnythingIsHeld(t *testing.T) {
	n := newNode(t).guard().collector()
	n.answer = http.StatusServiceUnavailable // it is there, and does not tick
	id := n.cgroup("payment.service")
	text, err := n.run("release", "/payment.service", "--cgroup-root", n.root)
	require.NoError(t, err)
	assert.Contains(t, text, "0 leases given back by the guard, which refuses older orders about them for 10m0s")
	for _, observe := range []bool{false, true} {
		assert.Equal(t, arc.VerdictRefused, n.hold(id, uint64(n.g.Status().BootTime), observe).Verdict)
	}
}

func TestReleaseIsRefusedInWords(t *testing.T) {
	n := newNode(t).guard().collector()
	n.cgroup("a/payment.service")
	n.hold(n.cgroup("b/payment.service"), n.now(), false)
	n.hold(n.cgroup("c/payment.service"), n.now(), false)
	n.answer = http.StatusConflict
	for _, c := range []struct {
		want string
		args []string
	}{
		{"name one cgroup to release, or --all", nil},
		{"name one cgroup to release, or --all", []string{"x", "--all"}},
		{"is 2 cgroups on which something is held", []string{"payment.service"}},
		{"there is no such cgroup", []string{"/nobody", "--cgroup-root", n.root}},
		{"there is no such cgroup", []string{"/", "--cgroup-root", n.root}},
		{"must be at least 1s", []string{"/a", "--for", "1ms"}},
		{"must be at least 1s", []string{"/a", "--for", "-1h"}},
		{"at most 120", []string{"/a", "--reason", strings.Repeat("x", 121)}},
		{"the collector refused: post http://localhost/operator: 409 Conflict: not now", []string{"/a/payment.service", "--cgroup-root", n.root}},
	} {
		_, err := n.run(append([]string{"release"}, c.args...)...)
		require.ErrorContains(t, err, c.want)
		assert.Equal(t, exitFailed, exitCode(err))
	}
	require.NoError(t, os.WriteFile(n.at("off"), nil, 0o600))
	n.answer = http.StatusServiceUnavailable
	_, err := n.run("release", "--all")
	require.ErrorContains(t, err, "the kill switch is on")
}

func TestTheKillSwitchWaitsForTheGuard(t *testing.T) {
	n := newNode(t).guard().collector()
	id := n.cgroup("payment.service")
	n.hold(id, n.now(), false)
	text, err := n.run("kill-switch", "status")
	require.NoError(t, err)
	assert.Contains(t, text, "kill switch off")
	assert.Contains(t, text, "the guard holds 1 leases, and observes 0")

	text, err = n.run("kill-switch", "on", "--reason", "incident 42")
	require.NoError(t, err)
	assert.Contains(t, text, "kill switch ON ("+n.at("off")+"); the guard confirms: nothing is held, every order is refused")
	assert.Equal(t, "max", n.high("payment.service"))
	assert.Equal(t, arc.VerdictRefused, n.hold(id, n.now(), false).Verdict)
	assert.Equal(t, []reflexextension.OperatorOrder{{Action: "record", What: "kill switch on", Reason: "incident 42"}}, n.got())

	text, err = n.run("kill-switch", "off", "-o", "json")
	require.NoError(t, err)
	var s switched
	require.NoError(t, json.Unmarshal([]byte(text), &s))
	assert.Equal(t, switched{File: n.at("off"), Guard: true}, s)
	assert.Equal(t, arc.VerdictGranted, n.hold(id, n.now(), false).Verdict)
	_, err = n.run("kill-switch", "off")
	require.NoError(t, err, "off twice is off")
}

func TestTheKillSwitchWithoutAGuardIsNotConfirmed(t *testing.T) {
	n := newNode(t)
	file := n.at("run/reflex/off")
	text, err := n.run("kill-switch", "on", "--file", file)
	require.ErrorIs(t, err, errUnconfirmed)
	require.ErrorContains(t, err, "reflexguard restore")
	assert.Equal(t, exitUnconfirmed, exitCode(err))
	assert.Contains(t, text, "kill switch ON")
	assert.Contains(t, text, "not in the journal")
	assert.FileExists(t, file)
	_, err = n.run("kill-switch", "off", "--file", file)
	require.ErrorIs(t, err, errUnconfirmed)
	assert.NoFileExists(t, file)
}

func TestTheKillSwitchIsWhereTheGuardLooks(t *testing.T) {
	n := newNode(t).guard()
	_, err := n.run("kill-switch", "on", "--file", n.at("elsewhere"))
	require.ErrorContains(t, err, "the guard looks at "+n.at("off"))
	assert.NoFileExists(t, n.at("elsewhere"))
	_, err = n.run("kill-switch", "maybe")
	assert.ErrorContains(t, err, "invalid argument")
}

func TestQuarantineThatTheGuardRefusesSaysSoAndIsNotOnTheRecord(t *testing.T) {
	n := newNode(t).guard().collector()
	n.cgroup("payment.service")
	text, err := n.run("quarantine", "--cgroup", "/payment.service", "--for", "10m", "--cgroup-root", n.root)
	require.ErrorContains(t, err, "quarantine /payment.service: the guard answers ")
	require.ErrorContains(t, err, "nothing was done")
	assert.Equal(t, exitFailed, exitCode(err))
	assert.NotContains(t, text, "is cut off")
	assert.Empty(t, n.got())

	for want, args := range map[string][]string{
		"at least one of the flags": {"--for", "1m"},
		"required flag":             {"--cgroup", "/x"},
		"name a cgroup":             {"--cgroup", "", "--for", "1m"},
		"must be 1s to":             {"--cgroup", "/x", "--for", "48h"},
		"there is no such cgroup":   {"--cgroup", "/nobody", "--for", "1m", "--cgroup-root", n.root},
	} {
		_, err := n.run(append([]string{"quarantine"}, args...)...)
		require.ErrorContains(t, err, want)
	}
	assert.Equal(t, ": run as root", asRoot(fmt.Errorf("dial: %w", unix.EACCES)))
	_, err = newNode(t).run("quarantine", "--cgroup", "7", "--for", "1m")
	require.ErrorContains(t, err, "only the guard can, and it does not answer")
}

// script is a guard that answers orders in turn.
type script struct {
	orders  []arc.Order
	answers []arc.Verdict
}

func (s *script) Act(ctx context.Context, o arc.Order, out *arc.Outcome) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.orders = append(s.orders, o)
	if len(s.answers) == 0 {
		return errors.New("away")
	}
	*out = arc.Outcome{Verdict: s.answers[0], Cause: "because"}
	s.answers = s.answers[1:]
	if out.Verdict == arc.VerdictNone {
		return errors.New("away")
	}
	return nil
}

func TestAQuarantineIsRenewedAndGivenBack(t *testing.T) {
	for name, c := range map[string]struct {
		answers []arc.Verdict
		renews  int
		want    string // of the error, "" for none
	}{
		"to its end":            {[]arc.Verdict{arc.VerdictGranted, arc.VerdictHeld, arc.VerdictHeld, arc.VerdictReleased}, 2, ""},
		"a guard that restarts": {[]arc.Verdict{arc.VerdictGranted, arc.VerdictNone, arc.VerdictGranted, arc.VerdictReleased}, 2, ""},
		"lost on the way":       {[]arc.Verdict{arc.VerdictGranted, arc.VerdictRefused, arc.VerdictReleased}, 1, "ended early: the guard answers refused: because"},
		"not given back":        {[]arc.Verdict{arc.VerdictGranted, arc.VerdictHeld}, 1, "the lease ends by itself within 15s"},
		"never held":            {[]arc.Verdict{arc.VerdictRefused}, 0, "nothing was done"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &script{answers: c.answers}
			renew, over := make(chan time.Time), make(chan time.Time)
			var said strings.Builder
			begun := 0
			q := &quarantine{
				guard: s, renew: renew, over: over, order: arc.Order{Cgroup: 7, Action: arc.ActionQuarantine, TTL: int64(quarantineTTL)},
				report: func(format string, _ ...any) { said.WriteString(format + "\n") },
			}
			done := make(chan error, 1)
			go func() { done <- q.hold(t.Context(), &target{cgroup: 7}, time.Minute, func() { begun++ }) }()
			for range c.renews {
				renew <- time.Time{}
			}
			var err error
			select {
			case over <- time.Time{}:
				err = <-done
			case err = <-done:
			}
			if c.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.want)
			}
			assert.Equal(t, c.renews > 0, begun == 1)
			assert.Equal(t, errors.Is(err, errNeverHeld), c.renews == 0)
			if last := s.orders[len(s.orders)-1]; c.renews > 0 {
				assert.Equal(t, arc.Release, last.Verb, "whatever happened, it is given back")
			}
			for _, o := range s.orders {
				assert.Equal(t, int64(15*time.Second), o.TTL)
			}
		})
	}
}

// A guard that was started again grants nothing that was decided before; one that
// is the same refuses because somebody ended the quarantine.
func TestAQuarantineIsDecidedAnewForAnotherGuard(t *testing.T) {
	for another, want := range map[bool][]uint64{true: {0, 0, 99, 99}, false: {0, 0, 0}} {
		s := &script{answers: []arc.Verdict{arc.VerdictGranted, arc.VerdictRefused, arc.VerdictGranted, arc.VerdictReleased}}
		renew, over := make(chan time.Time), make(chan time.Time)
		q := &quarantine{guard: s, renew: renew, over: over, report: func(string, ...any) {}, again: func(context.Context) uint64 {
			if another {
				return 99
			}
			return 0
		}}
		done := make(chan error, 1)
		go func() { done <- q.hold(t.Context(), &target{cgroup: 7}, time.Minute, func() {}) }()
		renew <- time.Time{}
		if another {
			over <- time.Time{}
			require.NoError(t, <-done)
		} else {
			require.ErrorContains(t, <-done, "ended early")
		}
		var got []uint64
		for _, o := range s.orders {
			got = append(got, o.Generation)
		}
		assert.Equal(t, want, got)
	}
}

func TestAnInterruptEndsAQuarantineWithItsRelease(t *testing.T) {
	s := &script{answers: []arc.Verdict{arc.VerdictGranted, arc.VerdictReleased}}
	ctx, cancel := context.WithCancel(t.Context())
	q := &quarantine{guard: s, report: func(string, ...any) {}}
	require.NoError(t, q.hold(ctx, &target{cgroup: 7}, time.Minute, cancel))
	require.Len(t, s.orders, 2)
	assert.Equal(t, arc.Release, s.orders[1].Verb)
}

func TestValuesOfKnobsForPeople(t *testing.T) {
	for _, c := range []struct {
		action string
		value  uint64
		want   string
	}{
		{"memory.high", 1 << 30, "1 GiB"},
		{"memory.high", arc.Unlimited, "max"},
		{"cpu.weight", 50, "50"},
		{"cpu.max", 500_000, "0.5 CPUs"},
		{"cpu.max", arc.Unlimited, "max"},
		{"io.max.read", 10 << 20, "10 MiB/s"},
		{"pids.max", arc.Unlimited, "max"},
		{"of tomorrow", 3, "3"},
	} {
		assert.Equal(t, c.want, words.Value(c.action, c.value), c.action)
	}
}
