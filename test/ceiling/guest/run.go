// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/otelcol-reflex/reflex/test/ceiling"
	"github.com/otelcol-reflex/reflex/test/demo/recording"
	"github.com/otelcol-reflex/reflex/test/stage"
)

// Settings describe what a machine plays.
type Settings struct {
	// Base is the root of the cgroup v2 hierarchy, Out the directory for what is to
	// come back, Self this program, for its other roles.
	Base, Out, Self string
	// Collector and Guard are otelcol-reflex and reflexguard.
	Collector, Guard string
	Arms             []ceiling.Arm
	Load             ceiling.Load
	// Calm is how long nothing leaks, Stagger how long after another a service begins.
	Calm, Stagger time.Duration
	Seed          uint64
}

// Check says what is wrong with the settings, if anything.
func (s *Settings) Check() error {
	var errs []error
	for _, path := range []string{s.Base, s.Out, s.Self, s.Collector, s.Guard} {
		if path == "" {
			errs = append(errs, errors.New("base, out, self, collector and guard must be given"))
			break
		}
	}
	if s.Load.Resident == 0 || s.Load.Resident >= s.Load.Limit || s.Load.Rate <= 0 || s.Load.Connections < 1 {
		errs = append(errs, errors.New("a service must use some of its limit, and be asked"))
	}
	return errors.Join(errs...)
}

func (s *Settings) logs(arm string) string { return filepath.Join(s.Out, "log", arm) }

// RecordingFile and AnswersFile are an arm's files in Settings.Out.
func RecordingFile(arm string) string { return recording.ArmFile(arm) }

// AnswersFile holds the answers of all services of an arm.
func AnswersFile(arm string) string { return recording.AnswersFile(arm) }

// Run plays every arm and tells stream.
func Run(ctx context.Context, s Settings, stream *recording.Stream) error {
	if err := s.Check(); err != nil {
		return err
	}
	if err := stage.Delegate(s.Base); err != nil {
		return err
	}
	for i := range s.Arms {
		if err := runArm(ctx, &s, &s.Arms[i], stream); err != nil {
			return fmt.Errorf("arm %s: %w", s.Arms[i].Name, err)
		}
	}
	return nil
}

// runArm plays one arm and writes its recording. Everything it started has ended when
// it returns.
func runArm(ctx context.Context, s *Settings, plan *ceiling.Arm, stream *recording.Stream) (err error) {
	a := &arm{Settings: s, plan: plan, stream: stream}
	a.rec = ceiling.Recording{Arm: plan.Name, Seed: s.Seed}
	defer func() { err = errors.Join(err, a.cleanUp()) }()
	if err := os.MkdirAll(s.logs(plan.Name), 0o755); err != nil {
		return err
	}
	if err := a.prepare(ctx); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	a.note("%v of calm", s.Calm)
	if err := stage.Pause(ctx, s.Calm); err != nil {
		return err
	}
	if err := a.play(ctx); err != nil {
		return err
	}
	a.finish(ctx)
	return recording.WriteJSON(s.Out, RecordingFile(plan.Name), &a.rec)
}
