// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package arc

// Meeting is the place where the parts of the arc meet: the reflex extension,
// as the sampler and the processor see it. Both find it among the host's
// extensions in Start and do without it when there is none.
type Meeting interface {
	// Register makes engine the judge of source until release is called. A
	// source has one judge: registering a second is an error that names both.
	Register(source, owner string, engine Engine) (release func(), err error)
	// Observe takes one sample through engine, policy and order, in the calling
	// goroutine, and returns when the order has been handed over. A source
	// calls it from one goroutine only. It reports the judgement made, whose
	// Ready is false when the source has no engine.
	Observe(s *Sample, j *Judgement)
	// Control returns what the policy asks of sampler and engines now.
	Control() Control
}

// Requirement is one thing that a part of the arc needs and lacks, why it does,
// and what to do about it.
type Requirement struct{ Name, Cause, Remedy string }

// Reporter is what a [Meeting] may also be: the place where the parts of the arc
// say what they lack. Who has one reports at Start, and again whenever it
// changes.
type Reporter interface {
	// Missing says what source lacks from now on; what it said before is
	// forgotten, and nothing missing is nil. The callee copies the slice. It is
	// not for the sampling goroutine: the callee may block for a moment.
	Missing(source string, missing []Requirement)
}
