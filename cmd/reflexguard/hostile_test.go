// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/guard"
)

func TestAHostileCollectorGetsNowhere(t *testing.T) {
	b := besiege(t)
	for _, attack := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"nothing but ordinary orders", b.ordinary(arc.VerdictGranted, arc.VerdictHeld)},
		{"orders", b.orders},
		{"messages", b.messages},
		{"connections", b.connections},
		{"a stranger", b.stranger},
		{"answers nobody takes", b.untaken},
		{"a flood", b.flood},
		{"ordinary orders after all of it, granted or not", b.ordinary(arc.VerdictGranted, arc.VerdictHeld, arc.VerdictRefused)},
	} {
		t.Run(attack.name, func(t *testing.T) {
			attack.run(t)
			b.small(t)
		})
	}
	for c := range b.ids {
		if c == "/" || c == "leak" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(b.o.root, c, "memory.high"))
		require.NoError(t, err)
		assert.Equal(t, "max\n", string(text), "%s was never touched", c)
	}
}

// ordinary orders, of a ceiling that moves, are what a guard is for: they cost it next to
// nothing.
func (b *besieged) ordinary(verdicts ...arc.Verdict) func(*testing.T) {
	return func(t *testing.T) {
		t.Helper()
		const ticks = 50
		collector := guard.Dial(b.o.socket)
		defer collector.Close()
		o := hostile(b.id)
		before, used := b.collections.Load(), b.cpuTime(t)
		for tick := range ticks {
			for range 3 {
				o.Parameter = uint64(200+tick) << 20
				var out arc.Outcome
				require.NoError(t, collector.Act(t.Context(), o, &out))
				require.Contains(t, verdicts, out.Verdict, out.Cause)
			}
			time.Sleep(20 * time.Millisecond)
		}
		o.Verb = arc.Release
		var out arc.Outcome
		require.NoError(t, collector.Act(t.Context(), o, &out))
		require.Equal(t, arc.VerdictReleased, out.Verdict, out.Cause)
		collected := b.collections.Load() - before
		t.Logf("%d orders: %v of CPU time, %d collections of garbage", 3*ticks, b.cpuTime(t)-used, collected)
		// Some thousand bytes an order: one for every 0.4 MiB of it, and no more.
		assert.LessOrEqual(t, collected, int64(15))
	}
}

// orders about what is nobody's to touch, and beyond every bound.
func (b *besieged) orders(t *testing.T) {
	t.Helper()
	collector := guard.Dial(b.o.socket)
	defer collector.Close()
	give := func(o arc.Order) arc.Outcome {
		var out arc.Outcome
		require.NoError(t, collector.Act(t.Context(), o, &out))
		return out
	}
	for _, c := range []struct {
		about, cause string
	}{
		{"/", "never touched"},
		{"system.slice", "holds other workloads"},
		{"user.slice", "holds other workloads"},
		{"init.scope", "protected by its name"},
		{"system.slice/ssh.service", "protected by its name"},
		{"guard", "which is protected"},
	} {
		b.refused(t, c.cause, func() {
			assert.Equal(t, arc.VerdictRefused, give(hostile(b.ids[c.about])).Verdict, c.about)
		})
	}
	for name, change := range map[string]func(*arc.Order){
		"names no cgroup":                func(o *arc.Order) { o.Cgroup = 0 },
		"is gone":                        func(o *arc.Order) { o.Cgroup = math.MaxUint64 },
		"a lease of 1m0.000000001s":      func(o *arc.Order) { o.TTL = int64(time.Minute) + 1 },
		"a lease of 2562047h47m16.854":   func(o *arc.Order) { o.TTL = math.MaxInt64 },
		"a lease of -1ns":                func(o *arc.Order) { o.TTL = -1 },
		"a lease of -2562047h47m16.854":  func(o *arc.Order) { o.TTL = math.MinInt64 },
		"a lease of 0s":                  func(o *arc.Order) { o.TTL = 0 },
		"the reason has":                 func(o *arc.Order) { o.Reason = strings.Repeat("x", guard.MaxReason+1) },
		`the guard has no action "none"`: func(o *arc.Order) { o.Action = arc.ActionNone },
	} {
		b.refused(t, name, func() {
			o := hostile(b.id)
			change(&o)
			assert.Equal(t, arc.VerdictRefused, give(o).Verdict, name)
		})
	}
	first := hostile(b.id)
	out := give(first) // a ceiling of one byte
	require.Equal(t, arc.VerdictGranted, out.Verdict, out.Cause)
	assert.GreaterOrEqual(t, out.Value, uint64(100<<20), "the floor is the guard's")
	b.refused(t, fmt.Sprintf("of generation %d, the lease of %d", first.Generation-1, first.Generation), func() {
		o := first
		o.Generation--
		assert.Equal(t, arc.VerdictRefused, give(o).Verdict)
		o.Verb = arc.Release
		assert.Equal(t, arc.VerdictRefused, give(o).Verdict)
	})
	o := first
	o.Parameter = arc.Unlimited
	time.Sleep(10 * time.Millisecond) // it may be written again
	out = give(o)
	assert.LessOrEqual(t, out.Value, arc.Unlimited, "never looser than the original")
	o.Verb = arc.Release
	assert.Equal(t, arc.VerdictReleased, give(o).Verdict)
	assert.Equal(t, "max", b.high(t))

	for range 3 { // the same hold again and again
		b.refused(t, "of a generation that is over", func() {
			assert.Equal(t, arc.VerdictRefused, give(first).Verdict, "replayed")
		})
	}
	assert.Equal(t, "max", b.high(t))
	b.refused(t, "decided before this guard started", func() {
		o := hostile(b.id)
		o.Generation = 7
		assert.Equal(t, arc.VerdictRefused, give(o).Verdict, "of a former guard's time")
	})
	b.refused(t, "yet to come", func() {
		o := hostile(b.id)
		o.Generation = math.MaxUint64
		assert.Equal(t, arc.VerdictRefused, give(o).Verdict, "which would be the last one ever")
	})

	o.Generation = decided()
	assert.Equal(t, arc.VerdictReleased, give(o).Verdict, "nothing is held")
	b.refused(t, "released already", func() {
		o.Verb = arc.Hold
		assert.Equal(t, arc.VerdictRefused, give(o).Verdict, "a hold older than its release")
	})
	b.refused(t, "were granted within a minute", func() { // a new one each time
		for range 30 {
			o := hostile(b.id)
			give(o)
			o.Verb = arc.Release
			give(o)
		}
	})
}

// messages that are none.
func (b *besieged) messages(t *testing.T) {
	t.Helper()
	order := map[string]any{"cgroup": b.id, "action": "memory.high", "verb": "hold", "parameter": 1, "ttl_ns": int64(15e9)}
	long := map[string]any{"action": strings.Repeat("a", 3000), "verb": "hold"}
	for _, c := range []struct {
		name, cause string
		bytes       []byte
	}{
		{"nonsense", "type 13", []byte("\x00\x00\x00\x04GET\x0d\x0d\x0a\x0d\x0a\x0d\x0a")},
		{"a message of 4 MiB", "4194304 bytes", message(1, 1, make([]byte, 4<<20))[:1<<20]},
		{"a message of 4 GiB", "bytes, at most 4096", []byte("\xff\xff\xff\xff\x00\x00\x00\x01\x01\x00")},
		{"data of a call that is being answered", "type 3", append(act(t, 1, order), message(1, 3, []byte("x"))...)},
		{"an answer", "type 2", message(1, 2, nil)},
		{"no JSON", "decode message", request(t, 1, "reflex.guard.v1.Guard", "Act", []byte("{"))},
		{"deep JSON", "decode message", request(t, 1, "reflex.guard.v1.Guard", "Act", []byte(strings.Repeat("[", 3000)))},
		{"a number that is none", "decode message", request(t, 1, "reflex.guard.v1.Guard", "Act", []byte(`{"cgroup":-1}`))},
		{"an action nobody has", "has no action", act(t, 1, long)},
		{"a verb nobody has", "has no verb", act(t, 1, map[string]any{"action": "memory.high", "verb": "destroy"})},
		{"a message that does not end", "begun and not ended", act(t, 1, order)[:40]},
	} {
		b.refused(t, c.cause, func() {
			conn := b.as(t, hostileUID)
			_, _ = conn.Write(c.bytes) // it may be cut off meanwhile
		})
	}
	// These the transport answers itself; the guard has to stay.
	conn := b.as(t, hostileUID)
	for i, bytes := range [][]byte{
		request(t, 1, "nobody", "Act", nil), request(t, 3, "reflex.guard.v1.Guard", "nothing", nil),
		message(5, 1, []byte("\xff\xff\xff")), request(t, 4, "reflex.guard.v1.Guard", "Act", nil), request(t, 5, "reflex.guard.v1.Guard", "Act", nil),
	} {
		_, err := conn.Write(bytes)
		require.NoError(t, err)
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
		head := make([]byte, 10)
		_, err = io.ReadFull(conn, head)
		require.NoError(t, err, "%d is answered", i)
		_, err = io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint32(head)))
		require.NoError(t, err)
	}
	assert.Equal(t, b.pid, b.status(t).PID)
}

// connections, as many as it can get, leave an operator's through.
func (b *besieged) connections(t *testing.T) {
	t.Helper()
	b.refused(t, "connections are open", func() {
		for range 40 {
			b.as(t, hostileUID)
		}
	})
	another := guard.Dial(b.o.socket)
	defer another.Close()
	_, err := another.Status(t.Context())
	require.NoError(t, err, "a new connection of root's")
}

func (b *besieged) stranger(t *testing.T) {
	t.Helper()
	b.refused(t, fmt.Sprintf("uid %d may not give orders", strangerUID), func() {
		require.NoError(t, os.Chmod(b.o.socket, 0o666))
		defer func() { assert.NoError(t, os.Chmod(b.o.socket, 0o600)) }()
		conn := b.as(t, strangerUID)
		_, _ = conn.Write(act(t, 1, map[string]any{"cgroup": b.id, "action": "memory.high", "verb": "hold"}))
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
		_, err := conn.Read(make([]byte, 1))
		assert.True(t, errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET), "%v", err)
	})
}

// untaken asks for the largest answers there are and takes none. The kernel keeps some
// for it on every connection, and they come a few a second: on more than one the guard
// would wait for longer until it has to wait.
func (b *besieged) untaken(t *testing.T) {
	t.Helper()
	b.refused(t, "answer was not taken", func() {
		var questions []byte
		for stream := uint32(1); stream < 400; stream += 2 {
			questions = append(questions, request(t, stream, "reflex.guard.v1.Guard", "Status", []byte("{}"))...)
		}
		conn := b.as(t, hostileUID)
		go func() { _, _ = conn.Write(questions) }()
	})
}

// taken connects once there is room: others are only just being closed.
func (b *besieged) taken(t *testing.T) (conn net.Conn) {
	t.Helper()
	require.Eventually(t, func() bool {
		conn = b.as(t, hostileUID)
		if _, err := conn.Write(request(t, 1, "nobody", "asks", nil)); err != nil {
			return false
		}
		head := make([]byte, 10)
		if _, err := io.ReadFull(conn, head); err != nil {
			return false
		}
		_, err := io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint32(head)))
		return err == nil
	}, 20*time.Second, time.Millisecond)
	return conn
}

// flood gives orders as fast as it can be taken, on every connection it gets.
func (b *besieged) flood(t *testing.T) {
	t.Helper()
	const span = 4 * time.Second
	var conns []net.Conn
	for range 11 { // of 12, one is the operator's
		conns = append(conns, b.taken(t))
	}
	before := b.status(t)
	used := b.cpuTime(t)
	var answered, granted atomic.Int64
	var senders sync.WaitGroup
	begin := time.Now()
	end := begin.Add(span)
	for i, conn := range conns {
		sent := make(chan uint32, 1)
		senders.Go(func() {
			defer close(sent)
			stream := uint32(3)
			for time.Now().Before(end) { // a batch a write
				var batch []byte
				for range 64 {
					batch = append(batch, act(t, stream, map[string]any{
						"cgroup": uint64(1<<40) + uint64(stream)*16 + uint64(i), "action": "memory.high", "verb": "hold", "ttl_ns": int64(15e9),
						"reason": strings.Repeat("\x01", 40) + strconv.Itoa(int(stream)),
					})...)
					stream += 2
				}
				if _, err := conn.Write(batch); err != nil {
					t.Errorf("the flood is cut off: %v", err)
					return
				}
			}
			sent <- stream/2 - 1
		})
		senders.Go(func() {
			head := make([]byte, 10)
			buf := make([]byte, 1<<16)
			answers := bufio.NewReaderSize(conn, 1<<16)
			all, total := int64(math.MaxInt64), sent
			for n := int64(0); n < all; {
				select {
				case last, ok := <-total:
					if !ok {
						return
					}
					all, total = int64(last), nil
					continue
				default:
				}
				// The last answer may be here before it is known to be the last.
				if answers.Buffered() == 0 {
					assert.NoError(t, conn.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
					_, err := answers.Peek(1)
					assert.NoError(t, conn.SetReadDeadline(time.Now().Add(20*time.Second)))
					if errors.Is(err, os.ErrDeadlineExceeded) && time.Since(end) < 20*time.Second {
						continue
					}
				}
				n++
				if _, err := io.ReadFull(answers, head); err != nil {
					t.Errorf("read an answer: %v", err)
					return
				}
				size := binary.BigEndian.Uint32(head)
				if _, err := io.ReadFull(answers, buf[:size]); err != nil {
					t.Errorf("read an answer: %v", err)
					return
				}
				if strings.Contains(string(buf[:size]), `"verdict":"granted"`) {
					granted.Add(1)
				}
				answered.Add(1)
			}
		})
	}
	var took []time.Duration
	honest := hostile(b.id)
	honest.Verb = arc.Release
	for time.Now().Before(end) {
		began := time.Now()
		var out arc.Outcome
		require.NoError(t, b.operator.Act(t.Context(), honest, &out))
		assert.Equal(t, arc.VerdictReleased, out.Verdict)
		took = append(took, time.Since(began))
		time.Sleep(5 * time.Millisecond)
	}
	senders.Wait()
	lasted := time.Since(begin) // until the last that was on its way is answered
	after := b.status(t)
	slices.Sort(took)
	rate := float64(answered.Load()) / lasted.Seconds()
	t.Logf("%d orders answered, %.0f a second, with %.0f %% of a CPU; %d honest ones meanwhile: p50 %v, p99 %v, max %v",
		answered.Load(), rate, 100*(b.cpuTime(t)-used).Seconds()/lasted.Seconds(), len(took), took[len(took)/2], took[len(took)*99/100], took[len(took)-1])
	assert.Equal(t, uint64(answered.Load()), after.Verdicts["refused"]-before.Verdicts["refused"], "each is refused, and counted")
	assert.Zero(t, granted.Load())
	assert.Greater(t, rate, 500., "a flood, paced")
	assert.Less(t, rate, 2400., "a flood, paced")
	assert.Less(t, took[len(took)/2], 250*time.Millisecond, "an honest order gets through")
	assert.Less(t, took[len(took)-1], time.Second, "and none waits for longer than a lease may outlive its end")
}
