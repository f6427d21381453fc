// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// FuzzOrder gives a guard whatever can be written as an order. Nothing but the
// one cgroup that is nobody's may change, and that one within its bounds.
func FuzzOrder(f *testing.F) {
	m := newMachine(f)
	free := m.cgroup(f, "a")
	spared := map[string]uint64{"x.slice": m.cgroup(f, "x.slice"), "x.slice/init.scope": m.cgroup(f, "x.slice/init.scope")}
	m.change = func(c *Config) { c.GrantsPerMinute = 1 << 30 }
	g := m.guard(f)
	f.Fuzz(func(t *testing.T, which byte, text []byte) {
		m.advance(second)
		g.Patrol()
		var wire wireOrder
		if unpack(wrapperspb.Bytes(text), &wire) != nil {
			return
		}
		order, err := wire.order()
		if err != nil {
			return
		}
		switch which % 4 { // ids differ from run to run
		case 1:
			order.Cgroup = free
		case 2:
			order.Cgroup = spared["x.slice"]
		case 3:
			order.Cgroup = spared["x.slice/init.scope"]
		}
		var out arc.Outcome
		require.NoError(t, g.Act(t.Context(), order, &out))
		for path, id := range spared {
			assert.Equal(t, arc.Unlimited, m.high(t, path))
			assert.Empty(t, m.record(id))
		}
		if order.Cgroup != free {
			assert.NotContains(t, []arc.Verdict{arc.VerdictGranted, arc.VerdictHeld}, out.Verdict)
		}
		if v := m.high(t, "a"); v != arc.Unlimited {
			assert.GreaterOrEqual(t, v, 100*mib, "never below usage")
			assert.LessOrEqual(t, out.Deadline, m.now()+int64(MaxTTL))
		}
		again, err := json.Marshal(toWire(&order))
		require.NoError(t, err)
		var back wireOrder
		require.NoError(t, json.Unmarshal(again, &back))
		assert.Equal(t, toWire(&order), back, "an order is the same at the other end")
	})
}

// FuzzConnection sends a guard whatever can be sent. It has to go on answering
// others.
func FuzzConnection(f *testing.F) {
	m := newMachine(f)
	id := m.cgroup(f, "a")
	socket := socketPath(f)
	serving(f, m.guard(f), socket)
	honest := Dial(socket)
	f.Cleanup(func() { honest.Close() })
	f.Fuzz(func(t *testing.T, text []byte) {
		conn, err := net.Dial("unix", socket)
		require.NoError(t, err)
		defer conn.Close()
		_, _ = conn.Write(text) // it may be cut off
		require.NoError(t, conn.(*net.UnixConn).CloseWrite())
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
		_, err = io.Copy(io.Discard, conn)
		if err != nil {
			require.NotErrorIs(t, err, net.ErrClosed)
			var late net.Error
			require.False(t, assert.ErrorAs(t, err, &late) && late.Timeout(), "the connection ends")
		}
		var out arc.Outcome
		require.NoError(t, honest.Act(t.Context(), releaseOf(id), &out))
		assert.Equal(t, arc.VerdictReleased, out.Verdict)
	})
}

// FuzzFrames looks at what comes through of whatever is sent: whole requests of
// an honest length, unchanged, up to the first thing that is none.
func FuzzFrames(f *testing.F) {
	f.Fuzz(func(t *testing.T, text []byte, size byte) {
		theirs, ours := net.Pipe()
		turned := 0
		c := newAdmitted(ours, func() {}, func(error) { turned++ }, nil)
		c.room = len(text) + 1 // nobody answers here
		go func() {
			_, _ = theirs.Write(text)
			theirs.Close()
		}()
		var passed []byte
		buf := make([]byte, int(size)+1)
		for {
			n, err := c.Read(buf)
			passed = append(passed, buf[:n]...)
			if err != nil {
				break
			}
		}
		require.NoError(t, c.Close())
		require.True(t, bytes.HasPrefix(text, passed))
		var in frame
		for rest := passed; len(rest) > 0; {
			part := rest[:min(len(rest), in.next())]
			rest = rest[len(part):]
			if header, _ := in.advance(part); header {
				assert.LessOrEqual(t, in.left, maxFrame)
				assert.EqualValues(t, frameRequest, in.header[frameTypeAt])
			}
		}
		if turned == 0 {
			assert.Len(t, passed, len(text), "what is honest comes through")
		}
	})
}
