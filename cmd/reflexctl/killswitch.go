// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/otelcol-reflex/reflex/internal/guard"
	"github.com/otelcol-reflex/reflex/internal/words"
)

// switched is the state of the kill switch.
type switched struct {
	File string `json:"file"`
	On   bool   `json:"on"`
	// Guard says whether a guard answers; Held is how many leases it holds for
	// real, Observed how many it only thinks of, and Cause why it does not answer.
	Guard    bool   `json:"guard"`
	Held     int    `json:"held"`
	Observed int    `json:"observed"`
	Cause    string `json:"cause,omitempty"`
}

func (s *switched) line() string {
	word := map[bool]string{true: "ON", false: "off"}[s.On]
	switch {
	case !s.Guard:
		return fmt.Sprintf("kill switch %s (%s); no guard answers: %s", word, s.File, s.Cause)
	case s.On && s.Held+s.Observed == 0:
		return fmt.Sprintf("kill switch ON (%s); the guard confirms: nothing is held, every order is refused", s.File)
	}
	return fmt.Sprintf("kill switch %s (%s); the guard holds %d leases, and observes %d", word, s.File, s.Held, s.Observed)
}

func killSwitchCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "kill-switch {on | off | status}",
		Short: "Give everything back and refuse every order, until switched off again",
		Long: `Switch all action off, or on again. The switch is a file: while it exists the guard
holds nothing and refuses everything, and it needs nothing else of Reflex to be
well. The file is where the running guard says it is, or at --file.

on waits until the guard confirms that nothing is held. off lets Reflex act again;
what is observed or enforced is the configuration's business. status only looks.

Without reflexctl: touch /run/reflex/off, and rm /run/reflex/off. The directory is
emptied by a reboot, and the switch is off after it.

Exit status: 0 done, and confirmed by the guard where it is on or off; 1 failure;
4 the file is there (or gone), but no guard confirms it. Of an embedded guard only
the file can be seen: reflexctl leases then asks the collector what it holds.`,
		Example: `  sudo reflexctl kill-switch on --reason 'incident 42'
  sudo reflexctl kill-switch status --output json
  sudo reflexctl kill-switch off`,
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"on", "off", "status"},
	}
	var file string
	output, o := outputFlag(c), operatorFlags(c)
	c.Flags().StringVar(&file, "file", "", "the guard's --kill-switch (default: what the guard says, else "+guard.DefaultKillSwitch+")")
	c.RunE = func(c *cobra.Command, args []string) error {
		if err := o.validate(); err != nil {
			return err
		}
		s, err := o.killSwitch(c, args[0], file)
		if s == nil {
			return err
		}
		if *output == asJSON {
			return errors.Join(writeJSON(c, s), err)
		}
		fmt.Fprintln(c.OutOrStdout(), words.Printable(s.line()))
		return err
	}
	return c
}

// killSwitch turns the switch and waits for the guard. The state is nil where it
// could not be turned.
func (o *operator) killSwitch(c *cobra.Command, do, file string) (*switched, error) {
	ctx := c.Context()
	if s, err := guardStatus(ctx, o.guard); err == nil {
		if file != "" && file != s.KillSwitch.Path {
			return nil, fmt.Errorf("the guard looks at %s, not at %s: leave --file out", s.KillSwitch.Path, file)
		}
		file = s.KillSwitch.Path
	}
	if file == "" {
		file = guard.DefaultKillSwitch
	}
	want := do == "on"
	var err error
	switch do {
	case "on":
		err = switchOn(file)
	case "off":
		if err = os.Remove(file); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	default:
		s, err := o.switchState(ctx, file)
		return &s, err
	}
	if err != nil {
		return nil, fmt.Errorf("kill switch %s: %w%s", do, err, asRoot(err))
	}
	o.tell(c, "kill switch "+do)
	var s switched
	done, err := poll(ctx, o.patience, func() (bool, error) {
		var err error
		s, err = o.switchState(ctx, file)
		return s.Guard && s.On == want && (!want || s.Held+s.Observed == 0) || !s.Guard, err
	})
	switch {
	case err != nil:
		return nil, err
	case !s.Guard:
		return &s, fmt.Errorf("%w: no guard answers at %s. If none runs, what a former one left turned is given back by the next, or now by reflexguard restore", errUnconfirmed, o.guard)
	case !done:
		return &s, fmt.Errorf("%w within %s: see reflexguard status, or stop reflexguard, which gives back as well", errUnconfirmed, o.patience)
	}
	return &s, nil
}

// switchOn makes the file.
func switchOn(file string) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

// switchState looks at the file and asks the guard.
func (o *operator) switchState(ctx context.Context, file string) (switched, error) {
	state := switched{File: file}
	switch _, err := os.Lstat(file); {
	case err == nil:
		state.On = true
	case !errors.Is(err, fs.ErrNotExist):
		return state, fmt.Errorf("kill switch: %w", err)
	}
	s, err := guardStatus(ctx, o.guard)
	if err != nil {
		state.Cause = err.Error()
		return state, nil //nolint:nilerr // that nobody answers is a state
	}
	state.Guard, state.On = true, s.KillSwitch.On
	for i := range s.Leases {
		if s.Leases[i].Observed {
			state.Observed++
		} else {
			state.Held++
		}
	}
	return state, nil
}
