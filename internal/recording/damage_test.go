// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package recording

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// blocksOf returns where the blocks of a recording begin, and where it ends.
func blocksOf(file []byte) (starts []int) {
	at := len(magic)
	for at < len(file) {
		starts = append(starts, at)
		at += frameSize + int(binary.LittleEndian.Uint32(file[at+4:]))
	}
	return append(starts, at)
}

func TestAFileThatEndsEarlyIsReadUpToItsLastWholeBlock(t *testing.T) {
	const perBlock = 3
	file, samples := written(t, 7, 10, perBlock)
	starts := blocksOf(file)
	require.Len(t, starts, 7, "header, four blocks of ticks, end")
	for length := range len(file) {
		want := 0
		for _, start := range starts[2:6] {
			if start <= length {
				want = min(want+perBlock, len(samples))
			}
		}
		ticks, wrong, err := readAll(file[:length], samples)
		require.Empty(t, wrong, "of %d bytes", length)
		require.ErrorIs(t, err, ErrTruncated, "of %d bytes", length)
		require.NotErrorIs(t, err, io.EOF)
		require.Equal(t, want, ticks, "of %d bytes", length)
	}
}

func TestAFlippedBitIsNoticed(t *testing.T) {
	file, samples := written(t, 8, 6, 2)
	starts := blocksOf(file)
	for at := range file {
		for bit := range 8 {
			damaged := bytes.Clone(file)
			damaged[at] ^= 1 << bit
			ticks, wrong, err := readAll(damaged, samples)
			require.Empty(t, wrong, "byte %d, bit %d", at, bit)
			require.ErrorIs(t, err, ErrDamaged, "byte %d, bit %d", at, bit)
			require.ErrorContains(t, err, positionOf(starts, at))
			require.LessOrEqual(t, ticks, len(samples))
		}
	}
}

// positionOf is how an error tells where the byte at lies.
func positionOf(starts []int, at int) string {
	position := "byte 0:"
	for _, start := range starts {
		if start <= at {
			position = fmt.Sprintf("block at byte %d:", start)
		}
	}
	return position
}

func TestAnErrorIsReturnedAgain(t *testing.T) {
	file, _ := written(t, 9, 2, 1)
	r, err := NewReader(bytes.NewReader(file[:len(file)-1]))
	require.NoError(t, err)
	var s arc.Sample
	for err == nil {
		err = r.Next(&s)
	}
	assert.EqualValues(t, 2, r.Ticks())
	assert.Equal(t, err, r.Next(&s))
	r.Close()
	assert.Equal(t, err, r.Next(&s))
}

func TestWhatFollowsTheEndIsDamage(t *testing.T) {
	file, samples := written(t, 10, 2, 1)
	_, _, err := readAll(append(bytes.Clone(file), file...), samples)
	require.ErrorIs(t, err, ErrDamaged)
	require.ErrorContains(t, err, fmt.Sprintf("block at byte %d: ", len(file)))
}

func TestABlockThatIsLeftOutIsMissed(t *testing.T) {
	file, samples := written(t, 11, 3, 1)
	starts := blocksOf(file)
	_, _, err := readAll(append(bytes.Clone(file[:starts[3]]), file[starts[4]:]...), samples)
	require.ErrorIs(t, err, ErrDamaged)
	require.ErrorContains(t, err, "had 3 ticks in 3 blocks; here are 2 in 2")
}

func TestWhatIsNoRecordingIsNot(t *testing.T) {
	for _, text := range []string{"time,cpu\n1,2\n", "{}", "\x1f\x8b", "\x8bRFX\n\x1a\n....."} {
		assert.False(t, Is([]byte(text)))
		_, err := NewReader(bytes.NewReader([]byte(text)))
		require.ErrorIs(t, err, ErrDamaged, "%q", text)
	}
	_, err := NewReader(bytes.NewReader(nil))
	require.ErrorIs(t, err, ErrTruncated)
	file, _ := written(t, 1, 1, 1)
	assert.True(t, Is(file[:20]))
}

// broken fails after some bytes.
type broken struct{ left int }

var errBroken = errors.New("no space left")

func (b *broken) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, errBroken
	}
	return len(p), nil
}

func TestAWriteThatFailsIsTold(t *testing.T) {
	_, err := NewWriter(&broken{}, Description{})
	require.ErrorIs(t, err, errBroken)
	w, err := NewWriter(&broken{left: 8000}, Description{})
	require.NoError(t, err)
	m := newMachine(3)
	for range 100 {
		require.NoError(t, w.Write(m.tick(), nil))
	}
	require.ErrorIs(t, w.Flush(), errBroken)
	require.ErrorIs(t, w.Write(m.tick(), nil), errBroken)
	require.ErrorIs(t, w.Close(), errBroken)
}

func FuzzReader(f *testing.F) {
	for seed := range uint64(3) {
		file, _ := written(f, seed, 6, 2)
		f.Add(file)
		// What a fuzzer cannot find behind checksums: a block's content itself.
		r, err := newUnpacker(bytes.NewReader(file))
		require.NoError(f, err)
		for {
			_, content, err := r.block()
			if err != nil {
				break
			}
			f.Add(content)
		}
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		readEverything(file)
		readEverything(wrapped(t, file))
	})
}

// wrapped is a recording of one block of ticks with this content.
func wrapped(t require.TestingT, content []byte) []byte {
	var out bytes.Buffer
	w, err := NewWriter(&out, Description{})
	require.NoError(t, err)
	require.NoError(t, w.packer.block(blockTicks, content))
	return out.Bytes()
}

func readEverything(file []byte) {
	r, err := NewReader(bytes.NewReader(file))
	if err != nil {
		return
	}
	var s arc.Sample
	for r.Next(&s) == nil {
		for _, id := range s.Cgroups.ID {
			_ = r.Path(id)
		}
	}
}
