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
