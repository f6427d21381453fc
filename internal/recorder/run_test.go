// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package recorder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
	"github.com/otelcol-reflex/reflex/internal/cgroupfs"
	"github.com/otelcol-reflex/reflex/internal/recording"
	"github.com/otelcol-reflex/reflex/internal/sampler"
	"github.com/otelcol-reflex/reflex/internal/sources"
)

// kernel stands for what ticks are read from.
type kernel struct {
	reads   uint64
	cgroups uint64
	err     error
	walks   int
	asked   []uint64
	gone    uint64
	reading func(n uint64) // is told of every reading
}

func (k *kernel) Read(into *arc.Node) error {
	k.reads++
	into[arc.NodeForks] = float64(k.reads)
	if k.reading != nil {
		k.reading(k.reads)
	}
	return k.err
}

func (k *kernel) Sweep(into *arc.Sweep) error {
	into.Reset()
	for id := uint64(1); id <= k.cgroups; id++ {
		into.Set(arc.CgroupMemoryUsage, into.Append(id, id/2), k.reads<<12)
	}
	return nil
}

func (k *kernel) Path(id uint64) (string, error) {
	k.asked = append(k.asked, id)
	if id == k.gone {
		return "", fmt.Errorf("open cgroup %d: %w", id, cgroupfs.ErrGone)
	}
	return fmt.Sprintf("/%d", id), nil
}

func (k *kernel) Walk(visit func(id, parent uint64, path string) error) error {
	k.walks++
	for id := uint64(1); id <= k.cgroups; id++ {
		if id != k.gone {
			_ = visit(id, id/2, fmt.Sprintf("/%d", id))
		}
	}
	return nil
}

func (k *kernel) Close() error { return nil }

func (k *kernel) sources() *sources.Sources {
	return &sources.Sources{Node: k, Cgroups: k, Names: k}
}

func settings() Settings {
	return Settings{Interval: sampler.FastestInterval, Clock: new(sampler.SystemClock)}
}

// read reads a whole recording.
func read(t *testing.T, file []byte) (all []uint64, last *recording.Reader) {
	t.Helper()
	r, err := recording.NewReader(bytes.NewReader(file))
	require.NoError(t, err)
	var s arc.Sample
	for {
		err := r.Next(&s)
		if err != nil {
			require.ErrorIs(t, err, io.EOF)
			return all, r
		}
		all = append(all, s.Sequence)
		assert.Equal(t, Source, s.Source)
		assert.Equal(t, uint64(s.Node[arc.NodeForks])<<12, s.Cgroups.Value(arc.CgroupMemoryUsage, s.Cgroups.Len()-1))
	}
}

func TestARecordingIsAsLongAsItShall(t *testing.T) {
	var out bytes.Buffer
	w, err := recording.NewWriter(&out, recording.Description{Source: Source})
	require.NoError(t, err)
	k := &kernel{cgroups: 20}
	set := settings()
	set.Duration = 200 * time.Millisecond
	seen := uint64(0)
	set.Progress = func(s *Summary) { seen = s.Ticks }
	s, err := Run(t.Context(), k.sources(), w, set)
	require.NoError(t, err)
	ticks, r := read(t, out.Bytes())
	assert.Len(t, ticks, int(s.Ticks))
	assert.Equal(t, seen, s.Ticks)
	assert.LessOrEqual(t, s.Ticks+s.Missed, uint64(20))
	assert.Positive(t, s.Ticks)
	assert.Less(t, s.Span, set.Duration)
	assert.Equal(t, 20, s.Cgroups)
	assert.EqualValues(t, out.Len(), s.Size)
	assert.False(t, s.Full)
	assert.Equal(t, "/7", r.Path(7))
	assert.Equal(t, 1, k.walks, "many are named by one walk")
	assert.Empty(t, k.asked)
}

func TestARecordingThatIsInterruptedIsWhole(t *testing.T) {
	var out bytes.Buffer
	w, err := recording.NewWriter(&out, recording.Description{Source: Source})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	k := &kernel{cgroups: 2, err: errors.New("read /proc/stat: gone")}
	k.reading = func(n uint64) {
		if n == 7 {
			cancel() // while a tick is being taken
		}
	}
	s, err := Run(ctx, k.sources(), w, settings())
	require.NoError(t, err)
	ticks, _ := read(t, out.Bytes())
	assert.GreaterOrEqual(t, len(ticks), 7)
	assert.Len(t, ticks, int(s.Ticks))
	assert.Equal(t, k.reads, ticks[len(ticks)-1], "what had been taken was written")
	assert.Equal(t, k.err, s.NodeError)
	assert.NoError(t, s.CgroupsError)
}

func TestARecordingEndsWhenItIsFull(t *testing.T) {
	var out bytes.Buffer
	w, err := recording.NewWriter(&out, recording.Description{Source: Source})
	require.NoError(t, err)
	limit := int64(out.Len() + 8000)
	w.Limit(limit)
	set := settings()
	set.Progress = func(*Summary) { _ = w.Flush() } // a block a tick
	k := &kernel{cgroups: 20}
	s, err := Run(t.Context(), k.sources(), w, set)
	require.NoError(t, err)
	assert.True(t, s.Full)
	assert.LessOrEqual(t, int64(out.Len()), limit)
	ticks, _ := read(t, out.Bytes())
	assert.Len(t, ticks, int(s.Ticks))
	assert.NotEmpty(t, ticks)
}

func TestABlockForWhichThereIsNoRoomIsGivenUpAtTheEnd(t *testing.T) {
	var out bytes.Buffer
	w, err := recording.NewWriter(&out, recording.Description{Source: Source})
	require.NoError(t, err)
	w.Limit(int64(out.Len() + 60))
	set := settings()
	set.Duration = 30 * time.Millisecond
	s, err := Run(t.Context(), (&kernel{cgroups: 20}).sources(), w, set)
	require.NoError(t, err)
	assert.True(t, s.Full)
	assert.Zero(t, s.Ticks)
	ticks, _ := read(t, out.Bytes())
	assert.Empty(t, ticks)
}

// full is a disk that is.
type full struct{ left int }

var errNoSpace = errors.New("no space left on device")

func (f *full) Write(b []byte) (int, error) {
	if f.left -= len(b); f.left < 0 {
		return 0, errNoSpace
	}
	return len(b), nil
}

func TestARecordingThatCannotBeWrittenEnds(t *testing.T) {
	w, err := recording.NewWriter(&full{left: 10_000}, recording.Description{Source: Source})
	require.NoError(t, err)
	set := settings()
	set.Progress = func(*Summary) { _ = w.Flush() }
	_, err = Run(t.Context(), (&kernel{cgroups: 20}).sources(), w, set)
	require.ErrorIs(t, err, errNoSpace)
}

func TestTicksThatDoNotFitTheQueueAreLostAndCounted(t *testing.T) {
	q := newQueue()
	s := &arc.Sample{}
	row := s.Cgroups.Append(5, 0)
	for range depth + 3 {
		s.Sequence++
		s.Cgroups.Set(arc.CgroupMemoryUsage, row, s.Sequence)
		q.Observe(s, nil)
	}
	assert.EqualValues(t, 3, q.lost.Load())
	for n := range uint64(depth) {
		got := <-q.waiting
		assert.Equal(t, n+1, got.Sequence)
		assert.Equal(t, n+1, got.Cgroups.Value(arc.CgroupMemoryUsage, 0), "a copy")
		q.spare <- got
	}
	q.Observe(s, nil)
	assert.Len(t, q.waiting, 1)
	assert.Zero(t, q.Control())
	assert.Less(t, testing.AllocsPerRun(100, func() {
		q.Observe(s, nil)
		q.spare <- <-q.waiting
	}), 1.0)
}

func TestNamesAreLookedUpOnceAndForgotten(t *testing.T) {
	k := &kernel{gone: 3}
	n := newNames(k)
	sweep := &arc.Sweep{}
	for id := uint64(1); id <= 5; id++ {
		sweep.Append(id, 0)
	}
	n.learn(sweep)
	n.learn(sweep)
	assert.Equal(t, []uint64{1, 2, 3, 4, 5}, k.asked, "few are asked for one by one, and once")
	assert.Zero(t, k.walks)
	assert.Equal(t, "/2", n.path(2))
	assert.Empty(t, n.path(3), "gone before it was named")

	for id := range uint64(1000) { // cgroups that live for one tick
		sweep.Reset()
		sweep.Append(100+id, 0)
		n.learn(sweep)
		require.LessOrEqual(t, len(n.known), 2+walkInstead)
	}
	newNames(nil).learn(sweep)
}

// OpenPath implements [sources.Names]; a recording looks at no files.
func (k *kernel) OpenPath(string) (*cgroupfs.Dir, error) { return nil, cgroupfs.ErrGone }
