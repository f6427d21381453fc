// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/detect"
)

func files(t *testing.T, folder string) []string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestAFileAppearsWholeOrNever(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "out.csv")
	require.NoError(t, os.WriteFile(path, []byte("before"), 0o600))
	o, err := Create(path, nil)
	require.NoError(t, err)
	_, _ = o.WriteString("after")
	require.NoError(t, o.Flush())
	content, _ := os.ReadFile(path)
	assert.Equal(t, "before", string(content))
	assert.Len(t, files(t, folder), 2)
	o.Abort()
	assert.Equal(t, []string{"out.csv"}, files(t, folder))

	o, err = Create(path, nil)
	require.NoError(t, err)
	_, _ = o.WriteString("after")
	require.NoError(t, o.Commit())
	o.Abort()
	content, _ = os.ReadFile(path)
	assert.Equal(t, "after", string(content))
	assert.Equal(t, []string{"out.csv"}, files(t, folder))

	_, err = Create(filepath.Join(folder, "none", "out.csv"), nil)
	assert.ErrorIs(t, err, os.ErrNotExist)
	device, err := Create("/dev/null", nil)
	require.NoError(t, err)
	require.NoError(t, device.Commit())
	assert.FileExists(t, "/dev/null")
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("full") }

func TestStandardOutputIsWrittenAsItComes(t *testing.T) {
	var b bytes.Buffer
	o, err := Create("-", &b)
	require.NoError(t, err)
	_, _ = o.WriteString("x")
	require.NoError(t, o.Commit())
	assert.Equal(t, "x", b.String())
	o, err = Create("-", &b)
	require.NoError(t, err)
	_, _ = o.WriteString("y")
	o.Abort()
	assert.Equal(t, "xy", b.String(), "what was judged before an interrupt is not lost")
	_, err = replay(t, recorded(10, 10), Options{}, full{})
	assert.ErrorContains(t, err, "full")
}

// drawn replays text and returns its page.
func drawn(t *testing.T, name, text string, o Options) string {
	t.Helper()
	in, err := NewInput(t.Context(), name, strings.NewReader(text))
	require.NoError(t, err)
	defer in.Close()
	r, err := New(o)
	require.NoError(t, err)
	r.Plot = true
	_, err = r.Run(in, io.Discard)
	require.NoError(t, err)
	var page bytes.Buffer
	require.NoError(t, r.WritePlot(&page))
	return page.String()
}

var dataElement = regexp.MustCompile(`(?s)<script type="application/json" id="data">(.*?)</script>`)

type drawnStream struct {
	Wall                                               *float64
	Width                                              float64
	Rows, Anomalous, Marked                            []int
	ScoreHigh, LimitLow, VelocityLow, AccelerationHigh []*float64
	Shares                                             []struct {
		Name string
		Most []*float64
	}
}

func dataOf(t *testing.T, page string) []drawnStream {
	t.Helper()
	found := dataElement.FindStringSubmatch(page)
	require.NotNil(t, found)
	var data []drawnStream
	require.NoError(t, json.Unmarshal([]byte(found[1]), &data))
	return data
}

func TestAPageHoldsTheReplayAndNeedsNothingElse(t *testing.T) {
	page := drawn(t, "/some/folder/host<1>.csv", strings.Replace(recorded(400, 300), "memory", "mem</script><b>", 1), Options{Warmup: Span{Samples: 100}})
	assert.Contains(t, page, "Replay of <code>host&lt;1&gt;.csv</code>")
	assert.NotContains(t, page, "/some/folder")
	assert.NotRegexp(t, `(?i)https?:|src=|href=|url\(|@import|//`, page, "nothing from the network")
	assert.NotContains(t, page, "</script><b>")
	assert.Contains(t, page, "mem&lt;/script&gt;&lt;b&gt;")
	assert.Contains(t, page, "1700000300", "the beginning of the episode, as the recording writes it")
	assert.Contains(t, page, "5 min 00 s")
	assert.Contains(t, page, "× limit")
	assert.Contains(t, page, "labelled")
	data := dataOf(t, page)
	require.Len(t, data, 1)
	d := data[0]
	require.Len(t, d.Rows, 400)
	require.NotNil(t, d.Wall)
	assert.Equal(t, 1700000000e3, *d.Wall)
	assert.Equal(t, 1.0, d.Width)
	assert.Equal(t, 1, d.Anomalous[300])
	assert.Equal(t, 0, d.Marked[299])
	assert.Equal(t, 1, d.Marked[300])
	assert.Nil(t, d.ScoreHigh[0], "nothing is judged on the first sample")
	assert.Greater(t, *d.ScoreHigh[300], *d.LimitLow[300])
	assert.Equal(t, "mem</script><b>", d.Shares[0].Name, "what contributed most is first")
	assert.NotNil(t, d.Shares[0].Most[300])
}

func TestAPageOfNothingMuch(t *testing.T) {
	page := drawn(t, "x.csv", "a\n1\n", Options{})
	assert.Contains(t, page, "never ready")
	assert.Contains(t, page, "No episode.")
	assert.Len(t, dataOf(t, page)[0].Rows, 1)
}

func TestALongRecordingKeepsItsExtremes(t *testing.T) {
	s := newSeries([]detect.Dimension{detect.Free("a"), detect.Free("b")}, time.Second, 0)
	const rows = 100_000
	for i := range rows {
		j := arc.Judgement{Decided: 1, Ready: true, Score: 1, Limit: 5, Velocity: -1, NumContributions: 1}
		j.Contributions[0] = arc.Contribution{Dimension: "a", Share: 1}
		marked := false
		if i == 77_777 {
			j.Score, j.Anomalous, j.Acceleration, marked = 50, true, 9, true
			j.Contributions[0] = arc.Contribution{Dimension: "b", Share: 2500}
		}
		s.observe(time.Duration(i)*time.Second, &j, marked)
	}
	s.observe(5*time.Second, &arc.Judgement{}, false) // a clock set back
	require.LessOrEqual(t, s.used, bins)
	require.Greater(t, s.used, bins/2-1)
	total := emptyBin
	for k := range s.bins[:s.used] {
		total.add(&s.bins[k])
	}
	assert.Equal(t, int32(rows+1), total.rows)
	assert.Equal(t, int32(1), total.anomalous)
	assert.Equal(t, int32(1), total.marked)
	peak := int(77_777 * time.Second / s.width)
	assert.Equal(t, extent{1, 50}, s.bins[peak].score)
	assert.Equal(t, float32(9), s.bins[peak].acceleration.high)
	assert.Equal(t, float32(2500), s.shares[peak][1])
	assert.Equal(t, []int{0, 1}, s.top())
}

func TestDurationsAndQuantitiesForPeople(t *testing.T) {
	assert.Equal(t, "1.5 s", spoken(1500*time.Millisecond))
	assert.Equal(t, "10 min 05 s", spoken(605*time.Second))
	assert.Equal(t, "2 h 01 min", spoken(121*time.Minute))
	assert.Equal(t, "11.57 d", spoken(1_000_000*time.Second))
	assert.Equal(t, "48770", quantity(48770.2))
	assert.Equal(t, "-1.5 G", quantity(-1.5e9))
	assert.Equal(t, "0.25", quantity(0.25))
}
