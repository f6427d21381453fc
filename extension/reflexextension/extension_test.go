// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componentstatus"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/episode"
)

func enforce(c *Config) { c.Mode = modeEnforce }

func records(b *bench) []episode.Record { return b.r.Journal().Read(0, nil) }

func kinds(all []episode.Record) []string {
	var out []string
	for _, r := range all {
		name := r.Kind.String()
		if r.Outcome != nil {
			name += " " + r.Outcome.Verdict.String()
		}
		out = append(out, name)
	}
	return out
}

func TestLeakRunsThroughTheWholeArc(t *testing.T) {
	b := newBench(t, enforce)
	b.assemble()
	b.leak()
	b.run(2 * time.Second)
	orders := b.wire.got()
	require.NotEmpty(t, orders)
	assert.Equal(t, b.leaker, orders[0].Cgroup)
	assert.False(t, orders[0].Observe)
	assert.GreaterOrEqual(t, orders[0].Parameter, uint64(1300*mb))

	all := records(b)
	assert.Equal(t, []string{"opened", "level_changed", "level_changed", "action granted"}, kinds(all), "renewals are counted, not told")
	granted := all[3]
	assert.Equal(t, 2, granted.Level)
	assert.Equal(t, "/payment.service", granted.Cgroup.Path)
	assert.Equal(t, b.leaker, granted.Cgroup.ID)
	assert.Equal(t, "cgroup_limit", granted.Harm.Kind)
	assert.Equal(t, time.Microsecond, granted.TickToKnob())
	assert.NotZero(t, granted.Onset)
	assert.NotZero(t, granted.Order.Generation)
	for _, r := range all {
		assert.Equal(t, all[0].Episode, r.Episode)
		assert.NotEqual(t, episode.ID{}, r.Episode)
		assert.Equal(t, "ebpf", r.Source)
		assert.NotEmpty(t, r.Reason)
		assert.Equal(t, r.Sequence, r.Judgement.Sequence)
	}
	c := b.r.Control()
	assert.True(t, c.LeaseHeld)
	assert.True(t, c.Frozen(b.now.Load()))
	assert.Equal(t, int64(10*time.Millisecond), c.Interval)
	assert.True(t, b.judged.Frozen, "the engine sees the control word")

	b.alarm.on.Store(false)
	b.rate = 0
	b.run(80 * time.Second)
	assert.Equal(t, []string{"opened", "level_changed", "level_changed", "action granted", "action released", "level_changed", "level_changed", "closed"}, kinds(records(b)))
	assert.False(t, b.r.Control().LeaseHeld)
	assert.Equal(t, int64(1), b.r.episodes.Load())
}

func TestObserveModeSendsOnlyObserveOrders(t *testing.T) {
	b := newBench(t, nil)
	b.assemble()
	b.leak()
	b.run(3 * time.Second)
	orders := b.wire.got()
	require.NotEmpty(t, orders)
	for _, o := range orders {
		assert.True(t, o.Observe)
	}
	assert.Contains(t, kinds(records(b)), "action observed")
}

func TestWithoutGuardDecisionsAreRecordedAsObserved(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Guard = guardNone })
	b.assemble()
	b.leak()
	b.run(3 * time.Second)
	assert.Equal(t, []string{"opened", "level_changed", "level_changed", "action observed"}, kinds(records(b)))
}

func TestDeclinedOrdersAreRecordedOnce(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"observing": func(*Config) {}, "enforcing": enforce,
		"enforcing another resource": func(c *Config) { enforce(c); c.Policy.Enforce = []string{"cpu"} },
	} {
		t.Run(name, func(t *testing.T) { declined(t, change, name != "enforcing") })
	}
}

func declined(t *testing.T, change func(*Config), observed bool) {
	t.Helper()
	b := newBench(t, func(c *Config) { change(c); c.Safelist = []string{"payment.*"} })
	b.start()
	for range 50 {
		b.tick()
	}
	b.rate = 50 * mb
	b.alarm.on.Store(true)
	for range 300 {
		b.tick()
	}
	got := records(b)
	assert.Equal(t, []string{"opened", "level_changed", "action refused"}, kinds(got))
	assert.Equal(t, "policy: protected", got[2].Outcome.Cause)
	assert.Contains(t, got[2].Reason, "payment.*")
	assert.Equal(t, observed, got[2].Order.Observe)
	assert.Empty(t, b.wire.got())
}

func TestAMachineWhereNothingCanBeContainedIsObserved(t *testing.T) {
	b := newBench(t, enforce)
	b.assemble()
	watchdog := &watchdog{r: b.r}
	watchdog.look(context.Background())
	require.Equal(t, modeEnforce, b.r.effective(), "a plain directory tree stands for a machine that has everything")

	b.r.powerless = powerless(nil, errors.New("no cgroup v2"))
	watchdog.look(context.Background())
	assert.Equal(t, modeObserve, b.r.effective(), "although the guard answers")
	assert.Equal(t, componentstatus.StatusRecoverableError, b.host.last())
	assert.Regexp(t, "nothing can be contained.*no cgroup v2; boot with", b.r.status().Problem)

	b.r.cfg.Mode = modeObserve
	assert.Empty(t, b.r.status().Problem, "nobody asked for more than to observe")
}

func TestDegradesToObservingAndRecovers(t *testing.T) {
	b := newBench(t, enforce)
	b.wire.fail(errors.New("connect: no such file"))
	b.assemble()
	watchdog := &watchdog{r: b.r}
	watchdog.look(context.Background())
	assert.Equal(t, modeObserve, b.r.effective())
	assert.Equal(t, componentstatus.StatusRecoverableError, b.host.last())
	assert.Contains(t, b.r.status().Problem, "nothing is enforced")

	b.leak()
	b.run(2 * time.Second)
	assert.Empty(t, b.wire.got())
	all := records(b)
	assert.Equal(t, []string{"opened", "level_changed", "level_changed", "action observed"}, kinds(all))
	assert.Contains(t, all[3].Outcome.Cause, "no such file")

	b.wire.fail(nil)
	b.run(6 * time.Second) // it is renewed
	all = records(b)
	require.Greater(t, len(all), 4, kinds(all))
	assert.Equal(t, "action granted", kinds(all)[4], "the lease is asked for again, and real now")
	watchdog.look(context.Background())
	assert.Equal(t, modeEnforce, b.r.effective())
	assert.Equal(t, componentstatus.StatusOK, b.host.last())

	b.wire.fail(errors.New("connection reset"))
	b.run(6 * time.Second)
	all = records(b)
	require.Greater(t, len(all), 5, kinds(all))
	assert.Equal(t, "action failed", kinds(all)[5], "where a lease may be held nothing is pretended")
}

func TestBlockedGuardDoesNotSlowObserve(t *testing.T) {
	b := newBench(t, enforce)
	b.wire.block = make(chan struct{})
	b.start()
	for range 50 {
		b.tick()
	}
	b.rate = 50 * mb
	b.alarm.on.Store(true)
	for b.r.Control().Harm == false || !b.r.Control().LeaseHeld {
		b.tick()
	}
	<-b.wire.entered // the executor hangs in the guard
	b.slow = 0
	var slowest []time.Duration
	for range 300 {
		b.slow = 0
		b.tick()
		slowest = append(slowest, b.slow)
	}
	over := 0
	for _, d := range slowest {
		if d > 5*time.Millisecond {
			over++
		}
	}
	assert.Less(t, over, 15, "Observe goes on while the guard hangs for a second an order: %v", slowest)
	close(b.wire.block)
	eventually(t, "the order arrives when the guard is back", func() bool { b.tick(); return len(b.wire.got()) > 0 })
}

func TestAnOrderThatHangsIsGivenUp(t *testing.T) {
	b := newBench(t, enforce)
	b.assemble()
	assert.Equal(t, actWithin, b.r.executor.within)
	b.r.executor.within = time.Millisecond
	b.wire.block = make(chan struct{})
	o := arc.Order{Cgroup: 5, Action: arc.ActionMemoryHigh, Parameter: 7}
	assert.Equal(t, arc.VerdictObserved, b.r.executor.act(t.Context(), o).Verdict, "nothing is held: nothing was written")
	b.r.executor.held[knobOf(&o)] = true
	assert.Equal(t, arc.VerdictFailed, b.r.executor.act(t.Context(), o).Verdict, "what is held may still be")
}

func TestRegister(t *testing.T) {
	b := newBench(t, nil)
	release, err := b.r.Register("ebpf", "mahalanobis/a", b.alarm)
	require.NoError(t, err)
	_, err = b.r.Register("ebpf", "mahalanobis/b", b.alarm)
	require.ErrorContains(t, err, "mahalanobis/a")
	require.ErrorContains(t, err, "mahalanobis/b")
	_, err = b.r.Register("", "x", b.alarm)
	require.Error(t, err)
	_, err = b.r.Register("x", "x", nil)
	require.Error(t, err)
	other, err := b.r.Register("host_metrics", "mahalanobis/b", b.alarm)
	require.NoError(t, err)
	other()
	release()
	release()
	again, err := b.r.Register("ebpf", "mahalanobis/b", b.alarm)
	require.NoError(t, err)
	again()
}

func TestOtherSourcesAreJudgedOnly(t *testing.T) {
	b := newBench(t, enforce)
	b.assemble()
	second := &alarm{}
	second.on.Store(true)
	release, err := b.r.Register("other", "mahalanobis", second)
	require.NoError(t, err)
	defer release()
	s := arc.Sample{Source: "other", Sequence: 1, Taken: 1e12}
	var j arc.Judgement
	b.r.Observe(&s, &j)
	assert.True(t, j.Anomalous)
	assert.Empty(t, records(b))
}

func TestWithoutEngineTheJudgementIsNotReady(t *testing.T) {
	b := newBench(t, nil)
	require.NoError(t, b.r.Start(context.Background(), b.host))
	b.tick()
	assert.False(t, b.judged.Ready)
	assert.Equal(t, b.sample.Sequence, b.judged.Sequence)
}

func TestStaleInputIsNoticed(t *testing.T) {
	b := newBench(t, nil)
	b.assemble()
	watchdog := &watchdog{r: b.r}
	b.run(time.Second)
	watchdog.look(context.Background())
	assert.False(t, b.r.stale.Load())
	b.now.Add(int64(time.Second))
	watchdog.look(context.Background())
	assert.True(t, b.r.stale.Load())
	assert.Equal(t, componentstatus.StatusRecoverableError, b.host.last())
	b.run(time.Second)
	watchdog.look(context.Background())
	assert.False(t, b.r.stale.Load())
	assert.Equal(t, componentstatus.StatusOK, b.host.last())
}

// A slow source that was sampled fast goes back to its own interval.
func TestASlowSourceThatWasHurriedIsNotStale(t *testing.T) {
	b := newBench(t, nil)
	b.assemble()
	b.sample.Period = int64(2 * time.Second)
	b.run(time.Second)
	b.now.Add(int64(2 * time.Second))
	assert.False(t, b.r.isStale())
	b.now.Add(int64(5 * time.Second))
	assert.True(t, b.r.isStale())
}

func TestShutdownReleasesWhatIsHeld(t *testing.T) {
	b := newBench(t, enforce)
	b.start()
	for range 50 {
		b.tick()
	}
	b.rate = 50 * mb
	b.alarm.on.Store(true)
	eventually(t, "a lease is granted", func() bool { b.tick(); return len(b.wire.got()) > 0 })
	eventually(t, "the policy knows", func() bool { b.tick(); return strings.Contains(strings.Join(kinds(records(b)), ","), "granted") })
	require.NoError(t, b.r.Shutdown(context.Background()))
	orders := b.wire.got()
	assert.Equal(t, arc.Release, orders[len(orders)-1].Verb)
	assert.True(t, b.wire.closed.Load())
	require.NoError(t, b.r.Shutdown(context.Background()))
	b.tick() // late ticks are harmless
}

func TestShutdownDoesNotWaitForAHangingGuard(t *testing.T) {
	b := newBench(t, enforce)
	b.wire.block = make(chan struct{})
	b.start()
	for range 50 {
		b.tick()
	}
	b.rate = 50 * mb
	b.alarm.on.Store(true)
	eventually(t, "an order is on its way", func() bool { b.tick(); return len(b.wire.entered) > 0 })
	began := time.Now()
	require.NoError(t, b.r.Shutdown(context.Background()))
	assert.Less(t, time.Since(began), 4*time.Second)
}

func get(t *testing.T, b *bench, path, host string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+b.r.page.listen.Addr().String()+path, http.NoBody)
	require.NoError(t, err)
	if host != "" {
		req.Host = host
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body)
}

func TestStatusPage(t *testing.T) {
	b := newBench(t, enforce)
	b.start()
	code, body := get(t, b, "/", "")
	require.Equal(t, http.StatusOK, code, "before anything happened")
	assert.Contains(t, body, "Nothing has happened")
	for _, b.sample.Missed = range []uint32{3, 4, 0} {
		b.tick()
	}
	contained(t, b)

	code, body = get(t, b, "/status", "")
	require.Equal(t, http.StatusOK, code)
	var s Status
	require.NoError(t, json.Unmarshal([]byte(body), &s))
	assert.Equal(t, 2, s.Level)
	assert.Equal(t, "containment", s.LevelName)
	assert.Equal(t, ModeStatus{Requested: "enforce", Effective: "enforce"}, s.Mode)
	require.Len(t, s.Leases, 1)
	assert.Equal(t, "/payment.service", s.Leases[0].Path)
	assert.Equal(t, "granted", s.Leases[0].Verdict)
	assert.NotNil(t, s.Episode)
	assert.Equal(t, "mahalanobis", s.Input.Judge)
	assert.Equal(t, uint64(7), s.Input.Missed)
	require.NotNil(t, s.Judgement)
	assert.Equal(t, uint64(3), s.Journal.Newest-1)

	code, body = get(t, b, "/", "")
	require.Equal(t, http.StatusOK, code)
	for _, want := range []string{"containment", "/payment.service", "granted", "http-equiv=\"refresh\""} {
		assert.Contains(t, body, want)
	}
	assert.NotContains(t, body, "<script>", "scripts come from files only")

	code, body = get(t, b, "/journal?after=1&limit=2", "")
	require.Equal(t, http.StatusOK, code)
	var j []map[string]any
	require.NoError(t, json.Unmarshal([]byte(body), &j))
	assert.Len(t, j, 2)
	assert.InDelta(t, 2, j[0]["id"], 0)

	for path, want := range map[string]int{"/journal?after=x": 400, "/journal?limit=0": 400, "/other": 404} {
		code, _ = get(t, b, path, "")
		assert.Equal(t, want, code, path)
	}
	code, _ = get(t, b, "/status", "evil.example")
	assert.Equal(t, http.StatusForbidden, code, "a name that resolves to loopback is not loopback")
}

func TestStartFailsOnWhatCannotBe(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	for name, tt := range map[string]struct {
		change func(*Config)
		open   func(*reflex) (link, error)
		want   []string
	}{
		"status address in use": {change: func(c *Config) { c.Status.Endpoint = taken.Addr().String() }, want: []string{"status::endpoint", taken.Addr().String()}},
		"no such cgroup root":   {change: func(c *Config) { c.CgroupRoot = "/no/such/directory" }, want: []string{"cgroup_root", "/no/such/directory"}},
		"guard that cannot be": {
			open: func(*reflex) (link, error) { return nil, errors.New("CAP_SYS_ADMIN is missing: give it") },
			want: []string{"guard:", "CAP_SYS_ADMIN"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, tt.change)
			if tt.open != nil {
				b.r.open = tt.open
			}
			err := b.r.Start(context.Background(), b.host)
			require.Error(t, err)
			for _, want := range tt.want {
				assert.ErrorContains(t, err, want)
			}
		})
	}
}

func TestStatusPageMayBeOff(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Status.Endpoint = "" })
	b.start()
	assert.Nil(t, b.r.page)
}
