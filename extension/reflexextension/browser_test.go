// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

//go:build browser

package reflexextension

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// picturesEnv is a directory: the screenshots go there.
const picturesEnv = "REFLEX_PAGE_PICTURES"

// inTime lets the bench's time be that of the machine, from now on, until the test ends.
func (b *bench) inTime(t *testing.T) (do func(func())) {
	t.Helper()
	b.now.Store(time.Now().UnixNano())
	work, done := make(chan func()), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case f, more := <-work:
				if !more {
					return
				}
				f()
			case <-time.After(time.Until(time.Unix(0, b.now.Load()))):
				b.tick()
			}
		}
	}()
	t.Cleanup(func() { close(work); <-done })
	return func(f func()) {
		ended := make(chan struct{})
		work <- func() { defer close(ended); f() }
		<-ended
	}
}

// The page in a browser: a change of level is seen within a second, and told why, with
// the keyboard alone, and nothing comes from elsewhere.
func TestThePageInABrowser(t *testing.T) {
	dir, err := filepath.Abs("../../test/page")
	require.NoError(t, err)
	chromium, err := exec.LookPath("chromium")
	require.NoError(t, err, "make test-page installs it")

	b := newBench(t, enforce)
	for i := range 80 { // calm so far
		score, limit := 2+math.Abs(math.Sin(float64(i)/3))*1.5, 5.0
		b.r.history.ring[i] = Moment{Time: time.Now().Add(time.Duration(i-80) * historyEvery), Score: &score, Limit: &limit}
		b.r.history.n++
	}
	b.start()
	b.alarm.explain = func(j *arc.Judgement) {
		j.Score, j.Velocity, j.NumContributions = 60, 2.5, 3
		j.Contributions[0] = arc.Contribution{Dimension: "system.memory.used", Share: 2900, Value: 1.7e9, Usual: 1.3e9}
		j.Contributions[1] = arc.Contribution{Dimension: "system.memory.used.growth", Share: 610, Value: 5e7, Usual: 2e5}
		j.Contributions[2] = arc.Contribution{Dimension: "system.paging.faults", Share: 90, Value: 12800, Usual: 240}
	}
	do := b.inTime(t)

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	drive := exec.CommandContext(ctx, "node", filepath.Join(dir, "drive.mjs"),
		"http://"+b.r.page.listen.Addr().String()+"/", chromium, os.Getenv(picturesEnv))
	drive.Stderr = os.Stderr
	in, err := drive.StdinPipe()
	require.NoError(t, err)
	out, err := drive.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, drive.Start())
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 4<<20)

	require.True(t, lines.Scan(), "the browser watches")
	require.Equal(t, "ready", lines.Text())
	do(func() {
		b.rate = 50 * mb
		b.alarm.on.Store(true)
	})
	eventually(t, "the level is 2", func() bool { return b.r.level.Load() == 2 })
	_, err = fmt.Fprintln(in, time.Now().UnixMilli())
	require.NoError(t, err)

	var saw struct {
		Errors, Elsewhere, Stops       []string
		Calm, Title, Explained, Leases string
		Light, Dark, Chosen            string
		Seen                           bool
		Chart, Overflow                int
		Delay                          float64 `json:"delay_ms"`
		StaysClosed                    bool    `json:"stays_closed"`
		KeepsFocus                     bool    `json:"keeps_focus"`
		WithoutScripts                 string  `json:"without_scripts"`
	}
	require.True(t, lines.Scan(), "the browser has seen it")
	require.NoError(t, json.Unmarshal(lines.Bytes(), &saw), "%s", lines.Text())
	assert.Empty(t, saw.Errors, "on the console")
	assert.Empty(t, saw.Elsewhere, "asked of the network")
	require.True(t, saw.Seen)
	t.Logf("the level was on the page after %.0f ms", saw.Delay)
	assert.Less(t, saw.Delay, 1000.0)
	assert.Equal(t, "0 normal", saw.Calm)
	assert.Equal(t, "Reflex: containment", saw.Title)
	for _, want := range []string{"/payment.service", "What was unusual", "memory.high was set from max", "To undo:"} {
		assert.Contains(t, saw.Explained, want)
	}
	assert.Contains(t, saw.Leases, "/payment.service")
	assert.Positive(t, saw.Chart)
	for _, want := range []string{"skip", "theme", "summary", "status", "history", "episodes", "observed", "journal"} {
		assert.Contains(t, saw.Stops, want, "reached by Tab")
	}
	assert.True(t, saw.StaysClosed, "what was closed")
	assert.True(t, saw.KeepsFocus)
	assert.Equal(t, "rgb(255, 255, 255)", saw.Light)
	assert.NotEqual(t, saw.Light, saw.Dark)
	assert.Equal(t, saw.Light, saw.Chosen)
	assert.LessOrEqual(t, saw.Overflow, 0, "on a narrow window")
	assert.Equal(t, "2 containment", saw.WithoutScripts)

	do(func() { require.NoError(t, b.r.Shutdown(t.Context())) })
	_, err = fmt.Fprintln(in, "ended")
	require.NoError(t, err)
	require.True(t, lines.Scan())
	assert.JSONEq(t, `{"lost": "connection lost, trying again"}`, lines.Text())
	require.NoError(t, drive.Wait())
}
