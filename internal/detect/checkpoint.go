// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/fnv"
	"math"
	"slices"
)

// ErrCheckpoint is wrapped by every error about a checkpoint that cannot be
// used: damaged, of another version, or of other dimensions.
var ErrCheckpoint = errors.New("unusable checkpoint")

// A checkpoint is, little-endian: magic, version, a fingerprint of the
// dimensions, the learned state in the order of [Detector.archive], and a CRC-32
// of all before it.
const (
	checkpointMagic   = 0x31584652 // "RFX1"
	checkpointVersion = 1
	checkpointHeader  = 4 + 4 + 8
	checkpointTrailer = 4
)

// AppendCheckpoint appends what the detector has learned to b and returns it.
// What is going on is not part of it: an alarm, the raw values of the last
// second, what waits to be learned. It allocates only where b is too short.
func (d *Detector) AppendCheckpoint(b []byte) []byte {
	start := len(b)
	b = binary.LittleEndian.AppendUint32(b, checkpointMagic)
	b = binary.LittleEndian.AppendUint32(b, checkpointVersion)
	b = binary.LittleEndian.AppendUint64(b, d.identity)
	a := archive{b: b}
	d.archive(&a)
	return binary.LittleEndian.AppendUint32(a.b, crc32.ChecksumIEEE(a.b[start:]))
}

// Restore takes up a checkpoint. On an error, which wraps [ErrCheckpoint], the
// detector is as it was.
func (d *Detector) Restore(b []byte) error {
	if len(b) < checkpointHeader+checkpointTrailer {
		return fmt.Errorf("%w: %d bytes are too few", ErrCheckpoint, len(b))
	}
	if m := binary.LittleEndian.Uint32(b); m != checkpointMagic {
		return fmt.Errorf("%w: not one of a detector", ErrCheckpoint)
	}
	if v := binary.LittleEndian.Uint32(b[4:]); v != checkpointVersion {
		return fmt.Errorf("%w: version %d, want %d", ErrCheckpoint, v, checkpointVersion)
	}
	body, sum := b[:len(b)-checkpointTrailer], binary.LittleEndian.Uint32(b[len(b)-checkpointTrailer:])
	if crc32.ChecksumIEEE(body) != sum {
		return fmt.Errorf("%w: checksum does not match", ErrCheckpoint)
	}
	if binary.LittleEndian.Uint64(b[8:]) != d.identity {
		return fmt.Errorf("%w: it is about other dimensions", ErrCheckpoint)
	}
	fresh := New(d.config)
	a := archive{b: body[checkpointHeader:], reading: true}
	fresh.archive(&a)
	if a.err == nil && len(a.b) > 0 {
		a.err = fmt.Errorf("%w: %d bytes are left over", ErrCheckpoint, len(a.b))
	}
	if a.err == nil {
		a.err = fresh.sane()
	}
	if a.err != nil {
		return a.err
	}
	fresh.resume()
	*d = *fresh
	return nil
}

// fingerprint identifies dimensions and shape of the state.
func (d *Detector) fingerprint() uint64 {
	h := fnv.New64a()
	fmt.Fprint(h, d.config.Lean, len(d.dims))
	for i := range d.dims {
		v := &d.dims[i]
		fmt.Fprintf(h, "\x00%s\x00%d %d %x %x", v.Name, v.Kind, v.Transform, v.Scale, v.Floor)
	}
	return h.Sum64()
}

// archive writes or reads plain values.
type archive struct {
	b       []byte
	reading bool
	err     error
}

func (a *archive) word(v *uint64) {
	if !a.reading {
		a.b = binary.LittleEndian.AppendUint64(a.b, *v)
		return
	}
	if len(a.b) < 8 {
		if a.err == nil {
			a.err = fmt.Errorf("%w: it ends early", ErrCheckpoint)
		}
		return
	}
	*v = binary.LittleEndian.Uint64(a.b)
	a.b = a.b[8:]
}

func (a *archive) half(v *float32) {
	if !a.reading {
		a.b = binary.LittleEndian.AppendUint32(a.b, math.Float32bits(*v))
		return
	}
	if len(a.b) < 4 {
		if a.err == nil {
			a.err = fmt.Errorf("%w: it ends early", ErrCheckpoint)
		}
		return
	}
	*v = math.Float32frombits(binary.LittleEndian.Uint32(a.b))
	a.b = a.b[4:]
}

func (a *archive) float(v *float64) {
	w := math.Float64bits(*v)
	a.word(&w)
	*v = math.Float64frombits(w)
}

func (a *archive) floats(v []float64) {
	for i := range v {
		a.float(&v[i])
	}
}

func (a *archive) halves(v []float32) {
	for i := range v {
		a.half(&v[i])
	}
}

// whole archives any integer.
func whole[T ~int | ~int32 | ~int64 | ~uint8](a *archive, v *T) {
	w := uint64(*v)
	a.word(&w)
	*v = T(w)
	if uint64(*v) != w && a.err == nil {
		a.err = fmt.Errorf("%w: %d is too much", ErrCheckpoint, w)
	}
}

func (a *archive) truth(v *bool) {
	var w uint64
	if *v {
		w = 1
	}
	a.word(&w)
	*v = w != 0
	if w > 1 && a.err == nil {
		a.err = fmt.Errorf("%w: %d is no truth", ErrCheckpoint, w)
	}
}

// archive writes or reads everything learned.
func (d *Detector) archive(a *archive) {
	d.fast.archive(a)
	a.truth(&d.apart)
	if d.apart {
		d.slow.archive(a)
	}
	d.shape.archive(a)
	whole(a, &d.period)
	d.calibration.archive(a)
	whole(a, &d.decisions)
	whole(a, &d.plateaus)
	a.truth(&d.warm)
	whole(a, &d.elapsed)
	for _, v := range []*float64{&d.kurtosis.d2, &d.kurtosis.d4, &d.kurtosis.count} {
		a.float(v)
	}
	if d.season != nil {
		d.season.archive(a)
	}
	if r := d.reservoir; r != nil {
		whole(a, &r.rows)
		whole(a, &r.seen)
		a.halves(r.x)
	}
}

func (o *opinion) archive(a *archive) {
	b := o.base
	a.floats(b.mean)
	for k := range b.n {
		a.floats(b.cov[k*b.n+k : (k+1)*b.n])
	}
	a.floats(b.largest)
	a.floats(b.lag)
	a.floats(b.sq)
	for j := range b.seen {
		whole(a, &b.seen[j])
	}
	a.float(&b.count)
	a.float(&b.total)
	o.charts.archive(a)
}

func (c *charts) archive(a *archive) {
	for i := range c.scale {
		c.scale[i].archive(a)
	}
}

func (s *scale) archive(a *archive) {
	for _, v := range []*float64{&s.mean, &s.square, &s.q, &s.e, &s.seen} {
		a.float(v)
	}
}

func (k *calibration) archive(a *archive) {
	a.halves(k.count[:])
	for _, v := range []*float64{&k.blocks, &k.total, &k.weight, &k.decay, &k.seconds} {
		a.float(v)
	}
	whole(a, &k.length)
}

func (s *season) archive(a *archive) {
	a.halves(s.mean)
	for i := range s.visits {
		whole(a, &s.visits[i])
	}
	whole(a, &s.hours)
	a.halves(s.load[:])
	whole(a, &s.length)
	whole(a, &s.hour)
	whole(a, &s.count)
	a.floats(s.sum)
}

// sane refuses a state that no detector can be in, whatever its checksum says.
func (d *Detector) sane() error {
	bad := func(what string) error { return fmt.Errorf("%w: %s out of range", ErrCheckpoint, what) }
	for _, o := range []*opinion{&d.fast, &d.slow} {
		if !o.base.sane() {
			return bad("baseline")
		}
		for i := range o.charts.scale {
			if !o.charts.scale[i].sane() {
				return bad("chart")
			}
		}
	}
	switch k, r := &d.kurtosis, d.reservoir; {
	case !d.shape.sane() || !within(0, 1e24, k.d2, k.d4, k.count):
		return bad("shape")
	case !d.calibration.sane() || d.period < 0 || d.decisions < 0 || d.decisions > most || d.plateaus < 0:
		return bad("calibration")
	case d.season != nil && !d.season.sane():
		return bad("season")
	case r != nil && (r.rows < 0 || r.rows > reserved || r.seen < r.rows || r.seen > most || !learnable(r.x, vast)):
		return bad("reservoir")
	}
	return nil
}

// most is more observations than there will ever be.
const most = 1e15

// within reports whether all of vs lie from low to high; NaN does not.
func within(low, high float64, vs ...float64) bool {
	return !slices.ContainsFunc(vs, func(v float64) bool { return !(v >= low && v <= high) })
}

// learnable reports whether all of vs are missing or within ±bound.
func learnable(vs []float32, bound float64) bool {
	return !slices.ContainsFunc(vs, func(v float32) bool { return math.Abs(float64(v)) > bound*(1+1e-6) })
}

func (b *Baseline) sane() bool {
	const square = 1e80 // of what vast allows, and more
	if !within(-2*vast, 2*vast, b.mean...) || !within(-square, square, b.cov...) || !within(0, 2*vast, b.largest...) ||
		!within(-math.MaxFloat64, math.MaxFloat64, b.lag...) || !within(0, math.MaxFloat64, b.sq...) || !within(0, most, b.count, b.total) {
		return false
	}
	for j, seen := range b.seen {
		if seen < 0 || seen > bootstrap || seen == bootstrap && b.count < bootstrap || b.cov[j*b.n+j] < 0 {
			return false
		}
		sd := math.Sqrt(b.cov[j*b.n+j])
		for i := j + 1; i < b.n; i++ {
			if math.Abs(b.cov[j*b.n+i]) > 1.001*sd*math.Sqrt(b.cov[i*b.n+i])+1e-280 {
				return false // no correlation
			}
		}
	}
	return true
}

func (s *scale) sane() bool {
	const high = 1e60
	// Mean and square are moments of logarithms, from which q may follow.
	return within(-high, high, s.q) && within(0, high, s.e, s.mean, s.square) && within(0, most, s.seen) &&
		s.mean+2*math.Sqrt(s.square) <= math.Log1p(high)
}

func (k *calibration) sane() bool {
	var sum float64
	for _, c := range k.count {
		if !(c >= 0) {
			return false
		}
		sum += float64(c)
	}
	return within(0, 1e7*most, k.blocks, sum) && sum <= 1.01*k.blocks+1 && within(0, most, k.total, k.seconds) &&
		within(1, 1e7, k.weight) && within(0, 1, k.decay) && k.length >= 0
}

func (s *season) sane() bool {
	return learnable(s.mean, vast) && !slices.ContainsFunc(s.mean, func(v float32) bool { return v != v }) &&
		learnable(s.load[:], unheard) && s.hours >= 0 && s.hours <= loadHours && s.hour >= 0 && s.hour <= math.MaxInt64/hourLength &&
		(s.length == 0 || s.length == dayHours || s.length == weekHours)
}

// resume makes what follows from the state that was read.
func (d *Detector) resume() {
	for _, o := range []*opinion{&d.fast, &d.slow} {
		b := o.base
		for j := range b.n {
			if b.Mature(j) {
				b.mature++
			}
		}
		if b.mature > 0 {
			b.primer = nil
		}
		b.refactor()
	}
	d.remember()
	period := d.period
	d.period = 0
	d.calibration.length = 0 // so that pace sets the memory that is configured now
	d.calibration.n, d.calibration.peak, d.calibration.lastBin = 0, math.Inf(-1), -1
	if period > 0 {
		d.calibration.fit()
		d.pace(period)
	}
}
