// Copyright The Reflex Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/otelcol-reflex/reflex/extension/reflexextension"
	"github.com/otelcol-reflex/reflex/internal/guard"
	"github.com/otelcol-reflex/reflex/internal/words"
)

// errUnconfirmed says that what was asked for was ordered, and that nobody said
// that it is done.
var errUnconfirmed = errors.New("not confirmed")

// maxWhy is how long an operator's reason may be, in bytes: the collector and
// the guard refuse longer ones.
const maxWhy = 120

// operator is whom an operator's command speaks to: the collector on its
// operators' socket, and the guard on its own.
type operator struct {
	socket, guard string
	reason        string
	patience      time.Duration // for what takes a tick or a patrol to show
}

// operatorFlags adds the flags of a command that orders.
func operatorFlags(c *cobra.Command) *operator {
	o := &operator{patience: 10 * time.Second}
	c.Flags().StringVar(&o.socket, "operator-socket", reflexextension.DefaultOperatorSocket, "operator::socket of the reflex extension")
	guardFlag(c, &o.guard)
	c.Flags().StringVar(&o.reason, "reason", "", "why, for the journal (at most 120 bytes)")
	return o
}

func guardFlag(c *cobra.Command, to *string) {
	c.Flags().StringVar(to, "guard-socket", guard.DefaultSocket, "socket of reflexguard")
}

func (o *operator) validate() error {
	if len(o.reason) > maxWhy {
		return fmt.Errorf(`invalid argument for "--reason" flag: it has %d bytes, at most %d are allowed`, len(o.reason), maxWhy)
	}
	return nil
}

// collector is the client of the collector's operators' socket.
func (o *operator) collector() *client { return &client{endpoint: "unix:" + o.socket} }

// tell puts what was done elsewhere in the journal, as far as there is one.
func (o *operator) tell(c *cobra.Command, what string) {
	order := reflexextension.OperatorOrder{Action: "record", What: what, Reason: o.reason}
	var answer reflexextension.OperatorAnswer
	if err := o.collector().post(c.Context(), "operator", order, &answer); err != nil {
		fmt.Fprintf(c.ErrOrStderr(), "not in the journal, for the collector did not take it: %s\n", words.Printable(err.Error()))
	}
}

// ask calls f with a client of the guard.
func ask[T any](ctx context.Context, socket string, f func(context.Context, *guard.Client) (T, error)) (T, error) {
	c := guard.Dial(socket)
	defer func() { _ = c.Close() }()
	return f(ctx, c)
}

// guardStatus asks the guard for its status.
func guardStatus(ctx context.Context, socket string) (guard.Status, error) {
	return ask(ctx, socket, func(ctx context.Context, c *guard.Client) (guard.Status, error) { return c.Status(ctx) })
}

// poll calls done every 100 ms until it says true, fails, or patience is over.
func poll(ctx context.Context, patience time.Duration, done func() (bool, error)) (bool, error) {
	end := time.NewTimer(patience)
	defer end.Stop()
	for {
		if yes, err := done(); yes || err != nil {
			return yes, err
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-end.C:
			return done()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// writeJSON writes v for programs.
func writeJSON(c *cobra.Command, v any) error {
	e := json.NewEncoder(c.OutOrStdout())
	e.SetIndent("", "  ")
	return e.Encode(v)
}
