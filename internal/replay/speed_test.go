// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package replay

import (
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// wide is a recording of 16 columns.
func wide(rows int) string {
	random := rand.New(rand.NewPCG(5, 6))
	var b strings.Builder
	b.WriteString("time")
	for k := range 16 {
		fmt.Fprintf(&b, ",metric.%d", k)
	}
	b.WriteByte('\n')
	var state [16]float64
	for i := range rows {
		fmt.Fprintf(&b, "%d.5", 1700000000+i)
		for k := range state {
			state[k] = 0.9*state[k] + random.NormFloat64()
			fmt.Fprintf(&b, ",%.6g", 100+state[k])
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// A million rows of 16 columns are to take less than 15 s, which is 67,000 a
// second; machines that run tests are slower than they should be.
func TestReplayIsFastEnough(t *testing.T) {
	if testing.Short() {
		t.Skip("measures")
	}
	summary, err := replay(t, wide(100_000), Options{}, io.Discard)
	require.NoError(t, err)
	perSecond := float64(summary.Rows) / summary.Took.Seconds()
	t.Logf("%.3g rows of 16 columns a second", perSecond)
	assert.Greater(t, perSecond, 20_000.0)
}

func TestReadingAndWritingDoNotAllocate(t *testing.T) {
	const rows = 20_000
	text := wide(rows)
	table, err := NewTable("x", strings.NewReader(text))
	require.NoError(t, err)
	s, err := newTableSource(table, &Options{})
	require.NoError(t, err)
	r := newRows(io.Discard, s)
	var sample Sample
	stream := (&Replay{}).begin(s.stream(0), &sample)
	step := func() {
		if err := s.next(&sample); err != nil {
			t.Fatal(err)
		}
		stream.step(&sample)
		if err := r.write(&sample, &stream.judged); err != nil {
			t.Fatal(err)
		}
	}
	for range 1000 {
		step()
	}
	assert.Zero(t, testing.AllocsPerRun(rows-2000, step))
}

func BenchmarkReplay(b *testing.B) {
	text := wide(20_000)
	b.SetBytes(int64(len(text) / 20_000))
	b.ReportAllocs()
	b.ResetTimer()
	for rows := 0; rows < b.N; rows += 20_000 {
		in, err := NewInput(b.Context(), "x", strings.NewReader(text))
		require.NoError(b, err)
		r, err := New(Options{})
		require.NoError(b, err)
		_, err = r.Run(in, io.Discard)
		require.NoError(b, err)
	}
}

func BenchmarkReadTable(b *testing.B) {
	text := wide(20_000)
	b.SetBytes(int64(len(text) / 20_000))
	b.ReportAllocs()
	b.ResetTimer()
	for rows := 0; rows < b.N; {
		table, err := NewTable("x", strings.NewReader(text))
		require.NoError(b, err)
		s, err := newTableSource(table, &Options{})
		require.NoError(b, err)
		var sample Sample
		for s.next(&sample) == nil {
			rows++
		}
	}
}
