// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package reflexextension

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/episode"
)

// contained lets the bench come to hold a lease.
func contained(t *testing.T, b *bench) {
	t.Helper()
	for range 50 {
		b.tick()
	}
	b.rate = 50 * mb
	b.alarm.on.Store(true)
	eventually(t, "a lease is granted", func() bool {
		b.tick()
		return strings.Contains(strings.Join(kinds(records(b)), ","), "granted")
	})
	b.tick()
}

// events follows the live page and returns the sections of one event after the other.
func events(t *testing.T, b *bench) (next func() map[string]string, end func()) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+b.r.page.listen.Addr().String()+"/events", http.NoBody)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req) //nolint:bodyclose // by end
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, "text/event-stream", resp.Header.Get("Content-Type"))
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	return func() map[string]string {
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				out := map[string]string{}
				require.NoError(t, json.Unmarshal([]byte(data), &out))
				return out
			}
		}
		return nil
	}, func() { resp.Body.Close() }
}

func TestALivePageIsToldWhatChanges(t *testing.T) {
	b := newBench(t, enforce)
	b.start()
	eventually(t, "the guard is reached: until then it only observes, and the page says so", func() bool {
		return b.r.status().Mode.Effective == modeEnforce
	})
	next, end := events(t, b)
	defer end()
	first := next()
	assert.Len(t, first, len(sectionNames), "all of it at first")
	assert.Contains(t, first["head"], "0 normal")
	contained(t, b)
	began := time.Now()
	for {
		if got := next(); strings.Contains(got["head"], "2 containment") {
			assert.Less(t, len(got), len(sectionNames), "and then what is new")
			assert.NotContains(t, got, "observed")
			break
		}
	}
	assert.Less(t, time.Since(began), time.Second)
}

func TestLivePagesAreBoundedAndEndWithTheExtension(t *testing.T) {
	b := newBench(t, nil)
	b.start()
	var last func() map[string]string
	for range mostLive {
		next, end := events(t, b)
		defer end()
		next()
		last = next
	}
	code, _ := get(t, b, "/events", "")
	assert.Equal(t, http.StatusServiceUnavailable, code)
	began := time.Now()
	require.NoError(t, b.r.Shutdown(t.Context()))
	assert.Less(t, time.Since(began), 5*time.Second)
	for last() != nil { // until the stream ends
	}
}

func TestWhatProgramsAskThePageFor(t *testing.T) {
	b := newBench(t, enforce)
	b.start()
	contained(t, b)
	var history []Moment
	eventually(t, "the score has a history", func() bool {
		b.tick()
		_, body := get(t, b, "/history", "")
		require.NoError(t, json.Unmarshal([]byte(body), &history))
		return len(history) > 1 && history[len(history)-1].Level == 2
	})
	assert.NotNil(t, history[len(history)-1].Score)

	code, body := get(t, b, "/episodes", "")
	require.Equal(t, http.StatusOK, code)
	var all []struct {
		Episode     string `json:"episode"`
		Highest     int    `json:"highest_level"`
		Explanation []struct {
			Text string `json:"text"`
		} `json:"explanation"`
	}
	require.NoError(t, json.Unmarshal([]byte(body), &all))
	require.Len(t, all, 1)
	assert.Equal(t, 2, all[0].Highest)
	assert.Contains(t, all[0].Explanation[0].Text, "opened at")
	code, body = get(t, b, "/episodes/"+all[0].Episode[:8], "")
	assert.Equal(t, http.StatusOK, code)
	assert.Contains(t, body, "memory.high was set from max")
	for path, want := range map[string]int{
		"/episodes/ffffzz": 404, "/observed?since=x": 400, "/observed?since=-1s": 400, "/observed?since=1h": 200, "/observed": 200,
		"/page/page.css": 200, "/page/page.js": 200, "/page/icon.svg": 200, "/page/page.html": 404, "/page/": 404,
	} {
		code, _ = get(t, b, path, "")
		assert.Equal(t, want, code, path)
	}
	code, _ = get(t, b, "/events", "evil.example")
	assert.Equal(t, http.StatusForbidden, code)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+b.r.page.listen.Addr().String()+"/events", http.NoBody)
	require.NoError(t, err)
	req.Header.Set("Sec-Fetch-Site", "cross-site") // as a browser says for another site's page
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, http.StatusForbidden, resp.StatusCode)
}

// What a workload chose, the name of its cgroup, is text.
func TestANameIsNoMarkup(t *testing.T) {
	b := newBench(t, nil)
	b.start()
	const name = `/<img src=x onerror=alert(1)>.service`
	id := episode.ID{7}
	b.r.journal.Append(episode.Record{Kind: episode.Opened, Episode: id, Level: 1, Reason: name})
	b.r.journal.Append(episode.Record{
		Kind: episode.Action, Episode: id, Level: 2, Previous: 2, Cgroup: episode.Cgroup{ID: 7, Path: name},
		Order:   &arc.Order{Cgroup: 7, Action: arc.ActionMemoryHigh, Generation: 1, Reason: name},
		Outcome: &arc.Outcome{Verdict: arc.VerdictObserved, Value: 1 << 20},
	})
	_, body := get(t, b, "/", "")
	assert.Contains(t, body, "&lt;img")
	assert.NotContains(t, body, "<img")
	next, end := events(t, b)
	defer end()
	for section, html := range next() {
		assert.NotContains(t, html, "<img", section)
	}
}

func TestEverySectionOfThePageIsLive(t *testing.T) {
	b := newBench(t, nil)
	b.start()
	_, body := get(t, b, "/", "")
	shown := []string{"head"}
	for _, section := range regexp.MustCompile(`<section id="(\w+)"`).FindAllStringSubmatch(body, -1) {
		shown = append(shown, section[1])
	}
	assert.Equal(t, shown, sectionNames)
}

// No asset comes from the network, and none is written into the page, where the content
// policy forbids it.
func TestThePageNeedsNothingFromElsewhere(t *testing.T) {
	for _, name := range []string{"page.html", "page.css", "page.js", "icon.svg"} {
		text, err := files.ReadFile("page/" + name)
		require.NoError(t, err)
		elsewhere := regexp.MustCompile(`(https?:)?//[a-z]`).FindAllString(strings.ReplaceAll(string(text), "http://www.w3.org/2000/svg", ""), -1)
		assert.Empty(t, elsewhere, name)
		assert.NotRegexp(t, `\sstyle=|\son[a-z]+=|<style|<script>`, string(text), name)
	}
	b := newBench(t, nil)
	b.start()
	resp, err := http.Get("http://" + b.r.page.listen.Addr().String() + "/")
	require.NoError(t, err)
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	policy := resp.Header.Get("Content-Security-Policy")
	assert.Contains(t, policy, "default-src 'none'")
	assert.NotContains(t, policy, "unsafe")
}

func TestAChartShowsGapsAndLevels(t *testing.T) {
	now := time.Date(2026, 3, 1, 2, 10, 0, 0, time.UTC)
	v := func(f float64) *float64 { return &f }
	var moments []Moment
	for i := range 20 {
		m := Moment{Time: now.Add(time.Duration(i-100) * historyEvery), Score: v(3), Limit: v(8)}
		switch {
		case i >= 15:
			m.Level, m.Score = 2, v(100)
		case i >= 10 && i < 12:
			m.Score = nil
		}
		moments = append(moments, m)
	}
	moments = append(moments, Moment{Time: now, Score: v(2), Limit: v(8)}) // after a pause
	c := draw(moments, now)
	assert.InDelta(t, 110, c.Top, 1e-9)
	assert.Len(t, c.Scores, 3, "broken where nothing is known, and at the pause")
	assert.Len(t, c.Limits, 2)
	assert.Equal(t, "The highest score was 100, the highest level 2, containment.", c.Words)
	var seen []int
	for _, band := range c.Bands {
		seen = append(seen, band.Level)
		assert.GreaterOrEqual(t, band.X, 0.0)
		assert.LessOrEqual(t, band.X+band.Width, float64(chartWidth)+0.1)
	}
	assert.Equal(t, []int{0, 2, 0}, seen)
	assert.InDelta(t, chartPlot, c.y(0), 0)
	assert.InDelta(t, 0, c.y(c.Top), 0)
	assert.Nil(t, draw(nil, now))
}

func TestTheHistoryIsBounded(t *testing.T) {
	b := newBench(t, nil)
	b.assemble()
	b.tick()
	now := time.Unix(1e9, 0)
	b.r.wall = func() time.Time { return now }
	for range historySize + 100 {
		b.r.history.look(b.r)
		b.r.history.look(b.r) // too early
		now = now.Add(historyEvery)
	}
	all := b.r.history.read()
	require.Len(t, all, historySize)
	assert.Equal(t, now.Add(-historyEvery), all[historySize-1].Time)
	now = now.Add(-time.Hour) // the clock is set back
	b.r.history.look(b.r)
	assert.Equal(t, now, b.r.history.read()[historySize-1].Time)
}
