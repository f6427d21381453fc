// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import "math"

// TrendKind chooses what a [Trend] is.
type TrendKind uint8

const (
	// Kalman is a constant-acceleration Kalman filter driven by white jerk
	// (Bar-Shalom, Li and Kirubarajan 2001, §6.2.3): quick and well-founded.
	Kalman TrendKind = iota
	// EWMA smooths value, velocity and acceleration exponentially, each from the
	// differences of the one before (Brown 1963, triple smoothing): simple to
	// reason about, slower.
	EWMA
)

// ewmaTime is the time constant of an EWMA trend, s: about that of the default
// Kalman filter, (noise/process)^(1/6).
const ewmaTime = 0.4

// Trend follows a noisy quantity and its first two derivatives.
type Trend struct {
	kind    TrendKind
	process float64 // spectral density of the jerk, unit²/s⁵
	noise   float64 // variance of a measurement that averages over one second, unit²·s

	x [3]float64 // value, velocity (1/s), acceleration (1/s²)
	p [6]float64 // covariance: 00 01 02 11 12 22
	n int
}

// NewTrend returns a trend. For a Kalman filter the ratio process/noise sets how fast it follows:
// its bandwidth is about (process/noise)^(1/6) rad/s. noise is per second of
// measurement, so that ten measurements in 100 ms say as much as one.
func NewTrend(kind TrendKind, process, noise float64) Trend {
	return Trend{kind: kind, process: process, noise: noise}
}

// Reset forgets the past.
func (t *Trend) Reset() { *t = NewTrend(t.kind, t.process, t.noise) }

// Update takes in a measurement z made dt seconds after the last.
func (t *Trend) Update(z, dt float64) {
	if z-z != 0 || !(dt > 0) {
		return
	}
	if t.n == 0 || dt > 60 {
		t.n = 1
		t.x = [3]float64{z, 0, 0}
		t.p = [6]float64{t.noise / min(dt, 1), 0, 0, 1, 0, 1}
		return
	}
	if t.kind == EWMA {
		t.smooth(z, dt)
		return
	}
	p, q := &t.p, t.process
	dt2 := dt * dt
	h := dt2 / 2
	// x ← Fx
	t.x[0] += dt*t.x[1] + h*t.x[2]
	t.x[1] += dt * t.x[2]
	// P ← FPFᵀ + Q
	a0 := p[0] + dt*p[1] + h*p[2]
	a1 := p[1] + dt*p[3] + h*p[4]
	a2 := p[2] + dt*p[4] + h*p[5]
	b1 := p[3] + dt*p[4]
	b2 := p[4] + dt*p[5]
	p[0] = a0 + dt*a1 + h*a2 + q*dt2*dt2*dt/20
	p[1] = a1 + dt*a2 + q*dt2*dt2/8
	p[2] = a2 + q*dt2*dt/6
	p[3] = b1 + dt*b2 + q*dt2*dt/3
	p[4] = b2 + q*dt2/2
	p[5] += q * dt
	// measurement
	s := p[0] + t.noise/dt
	k0, k1, k2 := p[0]/s, p[1]/s, p[2]/s
	e := z - t.x[0]
	t.x[0] += k0 * e
	t.x[1] += k1 * e
	t.x[2] += k2 * e
	p0, p1, p2 := p[0], p[1], p[2]
	p[0] -= k0 * p0
	p[1] -= k0 * p1
	p[2] -= k0 * p2
	p[3] -= k1 * p1
	p[4] -= k1 * p2
	p[5] -= k2 * p2
	t.n++
	if s-s != 0 || t.x[0]-t.x[0] != 0 || math.Abs(t.x[2]) > 1e15 {
		*t = NewTrend(t.kind, t.process, t.noise)
	}
}

// smooth is Update of an EWMA.
func (t *Trend) smooth(z, dt float64) {
	a := -math.Expm1(-dt / ewmaTime)
	value, velocity := t.x[0], t.x[1]
	t.x[0] += a * (z - value)
	t.x[1] += a * ((t.x[0]-value)/dt - velocity)
	t.x[2] += a * ((t.x[1]-velocity)/dt - t.x[2])
	if t.x[0]-t.x[0] != 0 || math.Abs(t.x[2]) > 1e15 {
		*t = NewTrend(t.kind, t.process, t.noise)
	}
}

// Value returns the filtered quantity.
func (t *Trend) Value() float64 { return t.x[0] }

// Velocity returns its first derivative, per second.
func (t *Trend) Velocity() float64 { return t.x[1] }

// Acceleration returns its second derivative, per second squared.
func (t *Trend) Acceleration() float64 { return t.x[2] }
