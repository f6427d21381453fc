// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"encoding/binary"
	"hash/crc32"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otelcol-reflex/reflex/internal/arc"
)

// sealed returns b, cut before its checksum, with a checksum that matches.
func sealed(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

func small() Config {
	return Config{Dimensions: freeDimensions(3), FalseAlarmInterval: 24 * time.Hour, Lean: true}
}

func settledSmall(config Config, n int) *feed {
	f := newFeed(New(config), newProcess(1, len(config.Dimensions), 0.5, false))
	f.run(n)
	return f
}

// What is exact: everything learned, so that a restored detector appends the
// very same checkpoint, and scores each vector as the first did until they learn.
// What is not part: raw history, trend, alarm, the fill of the charts and the open
// block, which a minute of input brings back; and when the factor was computed
// last, hence the tolerance.
func TestARestoredDetectorJudgesAsBefore(t *testing.T) {
	for name, config := range map[string]Config{
		"whole": {Dimensions: freeDimensions(6), FalseAlarmInterval: 24 * time.Hour},
		"lean":  small(),
		"apart": {Dimensions: freeDimensions(3), HalfLife: 1, FalseAlarmInterval: 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			f := settledSmall(config, 12000)
			assert.Equal(t, name == "apart", f.d.apart)
			b := f.d.AppendCheckpoint(nil)
			restored := New(config)
			require.NoError(t, restored.Restore(b))
			require.Equal(t, b, restored.AppendCheckpoint(nil), "bit for bit")
			f.d.fast.base.refactor() // both as of now
			f.d.slow.base.refactor()

			var j arc.Judgement
			for k := range 1600 {
				f.control = arc.Control{LeaseHeld: k < 2} // nothing learned until both have judged
				f.run(1)
				at := f.now
				restored.Step(Instant{Due: at, Taken: at, Interval: f.period}, f.p.out, f.control, &j)
				if k == 0 {
					assert.False(t, j.Fresh, "one vector is no difference")
					continue
				}
				require.True(t, j.Ready, "at once")
				if k == 1 {
					assert.InDelta(t, f.d.fast.d2, restored.fast.d2, 1e-12*(1+f.d.fast.d2))
				}
				require.InDelta(t, f.j.Distance, j.Distance, 0.02*(1+f.j.Distance), "decision %d", k)
				if k > 600 {
					require.InDelta(t, f.j.Limit, j.Limit, 0.05*f.j.Limit, "decision %d", k)
					require.InDelta(t, f.j.Velocity, j.Velocity, 0.1+0.05*math.Abs(f.j.Velocity), "decision %d", k)
				}
			}
		})
	}
}

func TestARestoreWithinTheWarmUpWarmsUp(t *testing.T) {
	f := settledSmall(small(), 100)
	d := New(small())
	require.NoError(t, d.Restore(f.d.AppendCheckpoint(nil)))
	f.d = d
	f.now = int64(time.Hour)
	f.run(150)
	assert.False(t, f.j.Ready)
	f.run(100)
	assert.True(t, f.j.Ready, "what was seen before counts")
}

func TestASeasonSurvivesARestart(t *testing.T) {
	c := newCalendar(4, daily)
	c.run(4*24 + 5)
	require.Equal(t, 24*time.Hour, c.season())
	d := New(c.d.config)
	require.NoError(t, d.Restore(c.d.AppendCheckpoint(nil)))
	c.d = d
	c.minute += 7 * 60 // down for seven hours
	for range 12 {
		c.run(2)
		assert.Equal(t, 24*time.Hour, c.season())
		assert.Greater(t, d.season.autocorrelation(dayHours), 0.8, "hours are where they were")
	}
}

func TestADamagedCheckpointIsRefused(t *testing.T) {
	f := settledSmall(small(), 2000)
	good := f.d.AppendCheckpoint(nil)
	d := New(small())
	require.NoError(t, d.Restore(good))
	refuse := func(b []byte, what string, at int) {
		t.Helper()
		if err := d.Restore(b); err == nil {
			t.Fatalf("%s at %d was accepted", what, at)
		} else {
			require.ErrorIs(t, err, ErrCheckpoint)
		}
	}
	for n := range good {
		refuse(good[:n], "an end", n)
		if n >= checkpointHeader && n < len(good)-checkpointTrailer {
			refuse(sealed(append([]byte(nil), good[:n]...)), "a sealed end", n)
		}
		b := append([]byte(nil), good...)
		b[n] ^= 0x41
		refuse(b, "a flip", n)
	}
	refuse(append(append([]byte(nil), good...), 0), "a trailing byte", len(good))
	body := good[:len(good)-checkpointTrailer]
	refuse(sealed(append(append([]byte(nil), body...), 0)), "a sealed trailing byte", len(good))
	refuse(sealed(append(append([]byte(nil), body...), make([]byte, 8)...)), "a sealed trailing word", len(good))
	version := append([]byte(nil), body...)
	version[4]++
	refuse(sealed(version), "another version", 4)
	assert.Equal(t, good, d.AppendCheckpoint(nil), "the detector is as it was")

	for _, other := range []Config{
		{Dimensions: freeDimensions(4), Lean: true}, {Dimensions: freeDimensions(3)}, {Dimensions: gauges(3, 0.1), Lean: true},
	} {
		require.ErrorIs(t, New(other).Restore(good), ErrCheckpoint, "other dimensions")
	}
	require.NoError(t, New(small()).Restore(New(small()).AppendCheckpoint(nil)), "an empty one is one")
}

func TestNonsenseUnderAGoodChecksumIsRefused(t *testing.T) {
	config := small()
	config.Lean = false
	f := settledSmall(config, 2000)
	for what, spoil := range map[string]func(d *Detector){
		"NaN mean":              func(d *Detector) { d.fast.base.mean[1] = nan },
		"infinite variance":     func(d *Detector) { d.fast.base.cov[0] = math.Inf(1) },
		"absurd variance":       func(d *Detector) { d.fast.base.cov[0] = 1e300 },
		"negative variance":     func(d *Detector) { d.fast.base.cov[0] = -1 },
		"correlation beyond 1":  func(d *Detector) { d.fast.base.cov[1] = 2 * d.fast.base.cov[0] },
		"NaN quantile":          func(d *Detector) { d.fast.charts.scale[drift].q = nan },
		"NaN count of blocks":   func(d *Detector) { d.calibration.count[3] = float32(nan) },
		"weight of nothing":     func(d *Detector) { d.calibration.weight = 1e-300 },
		"more than all blocks":  func(d *Detector) { d.calibration.count[3] = 1e30 },
		"memory that shrinks":   func(d *Detector) { d.calibration.decay = -1 },
		"NaN kurtosis":          func(d *Detector) { d.kurtosis.d4 = nan },
		"NaN deformation":       func(d *Detector) { d.shape.mean = nan },
		"mature from nothing":   func(d *Detector) { d.fast.base.count = 0 },
		"seen more than counts": func(d *Detector) { d.fast.base.seen[0] = bootstrap + 1 },
		"NaN hour":              func(d *Detector) { d.season.mean[7] = float32(nan) },
		"infinite load":         func(d *Detector) { d.season.load[7] = float32(math.Inf(1)) },
		"too many hours":        func(d *Detector) { d.season.hours = loadHours + 1 },
		"a month of seasons":    func(d *Detector) { d.season.length = 30 * dayHours },
		"an hour after time":    func(d *Detector) { d.season.hour = math.MaxInt64 },
		"infinite row":          func(d *Detector) { d.reservoir.x[7] = float32(math.Inf(1)) },
		"too many rows":         func(d *Detector) { d.reservoir.rows = reserved + 1 },
		"negative period":       func(d *Detector) { d.period = -1 },
		"negative decisions":    func(d *Detector) { d.decisions = -1 },
	} {
		d := New(config)
		require.NoError(t, d.Restore(f.d.AppendCheckpoint(nil)))
		spoil(d)
		require.ErrorIs(t, New(config).Restore(d.AppendCheckpoint(nil)), ErrCheckpoint, what)
	}
}

// FuzzRestore lets damage past the checksum: what is accepted must judge finitely.
func FuzzRestore(f *testing.F) {
	good := settledSmall(small(), 2000).d.AppendCheckpoint(nil)
	f.Add([]byte{}, false)
	f.Add(good, false)
	f.Add([]byte{40, 1, 0, 0, 0, 0, 0, 0, 248, 127}, true)
	f.Fuzz(func(t *testing.T, b []byte, patch bool) {
		if patch { // a good one, with words of b written over it
			patched := append([]byte(nil), good...)
			for len(b) >= 10 {
				at := checkpointHeader + 8*(int(binary.LittleEndian.Uint16(b))%((len(good)-checkpointHeader-checkpointTrailer)/8))
				copy(patched[at:len(patched)-checkpointTrailer], b[2:10])
				b = b[10:]
			}
			b = patched
		}
		if len(b) > checkpointTrailer {
			b = sealed(append([]byte(nil), b[:len(b)-checkpointTrailer]...))
		}
		d := New(small())
		if err := d.Restore(b); err != nil {
			require.ErrorIs(t, err, ErrCheckpoint)
			return
		}
		feed := newFeed(d, newProcess(1, 3, 0.5, false))
		var r Report
		for range 200 {
			feed.run(1)
			requireFinite(t, &feed.j)
		}
		d.Report(&r)
		require.NoError(t, New(small()).Restore(d.AppendCheckpoint(nil)), "what it appends is one again")
	})
}
