package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"elemental/adapters/plugin"
	"elemental/adapters/plugin/schema"
	"elemental/core"
	"elemental/ports"
)

func (r *run) describes(ctx context.Context) error {
	result, err := r.call(ctx, core.VerbDescribe, ports.Request{})
	if err != nil {
		return err
	}
	d, err := plugin.ReadDescription(result)
	switch {
	case err != nil:
		return err
	case d.Name == "":
		return errors.New("it has no name")
	case !slices.Contains(d.Protocols, plugin.Protocol):
		return fmt.Errorf("its protocols are %q, and %s is not among them", d.Protocols, plugin.Protocol)
	}
	r.description = d
	left, err := contents(r.Plugin.WorkDir())
	if err == nil && len(left) > 0 {
		return fmt.Errorf("it left %s in its work dir", left[0].name)
	}
	return err
}

func (r *run) verbs(context.Context) error {
	for _, verb := range []core.Verb{core.VerbObserve, core.VerbStage, core.VerbUnstage, core.VerbConfirm} {
		if !slices.Contains(r.description.Verbs, verb) {
			return fmt.Errorf("%s is not among its verbs", verb)
		}
	}
	return nil
}

func (r *run) schemaRefuses(context.Context) error {
	var err error
	if r.schema, err = schema.Compile(r.description.Schema); err != nil {
		return err
	}
	if r.schema.Check([]byte(`["a list"]`)) == nil {
		return errors.New("it accepts [\"a list\"]; osVersionManagement is always an object, so let it begin with \"type\": \"object\"")
	}
	return nil
}

func (r *run) describesAnyProtocol(ctx context.Context) error {
	_, result, err := r.send(ctx, "describe", another(r.described(ctx, core.VerbDescribe)), nil)
	if err != nil {
		return fmt.Errorf("the request spoke %s, and its answer is: %w", anotherProtocol, err)
	}
	d, err := plugin.ReadDescription(result)
	if err == nil && !reflect.DeepEqual(d, r.description) {
		return fmt.Errorf("the request spoke %s, and it described itself in another way", anotherProtocol)
	}
	return err
}

// anotherProtocol is one that no plugin speaks.
const anotherProtocol = "elemental.io/plugin/v0"

func another(request []byte) []byte {
	return []byte(strings.Replace(string(request), plugin.Protocol, anotherProtocol, 1))
}

// described writes a request for nothing.
func (r *run) described(_ context.Context, verb core.Verb) []byte {
	request, err := r.Plugin.Request(verb, ports.Request{Host: "test"})
	if err != nil {
		return nil // The plugin will say so.
	}
	return request
}

func (r *run) refusesProtocol(ctx context.Context) error {
	x, _, err := r.send(ctx, "observe", another(r.described(ctx, core.VerbObserve)), nil)
	return refused(x, err, "the request spoke "+anotherProtocol)
}

func (r *run) refusesVerb(ctx context.Context) error {
	request := strings.Replace(string(r.described(ctx, core.VerbObserve)), `"observe"`, `"levitate"`, 1)
	x, _, err := r.send(ctx, "levitate", []byte(request), nil)
	return refused(x, err, "it was asked to levitate")
}

// refused accepts an error in the form of the protocol alone.
func refused(x plugin.Exchange, err error, what string) error {
	var failure core.Failure
	switch {
	case err == nil:
		return fmt.Errorf("%s, and it answered with a result", what)
	case !errors.As(err, &failure):
		return fmt.Errorf("%s, and it answered with no error: %w", what, err)
	case x.Killed:
		return fmt.Errorf("%s, and had to be killed", what)
	default:
		return nil
	}
}

func (r *run) satisfiedByNothing(ctx context.Context) error {
	o, err := r.observe(ctx, nil)
	r.here = err
	var failure core.Failure
	switch {
	case err == nil && o.Verdict != core.VerdictSatisfied && o.Verdict != core.VerdictUnconfirmed:
		return fmt.Errorf("its verdict is %s", o.Verdict)
	case errors.As(err, &failure) && failure.Class != core.FailureInvalid && failure.Reason != "" && !r.Stage:
		return notHere{r.elsewhere() + ": " + err.Error()}
	default:
		return err
	}
}

func (r *run) ignoresFields(ctx context.Context) error {
	request := strings.Replace(string(r.described(ctx, core.VerbObserve)), `"input":{`, `"future":{"a":[1]},"input":{"future":true,`, 1)
	request = strings.Replace(request, "true,}", "true}", 1)
	_, _, err := r.send(ctx, "observe", []byte(request), nil)
	if err != nil {
		return fmt.Errorf("the request had the fields future and input.future, and its answer is: %w", err)
	}
	return nil
}

func (r *run) refusesList(ctx context.Context) error {
	_, err := r.observe(ctx, []byte(`["a list"]`))
	var failure core.Failure
	switch {
	case err == nil:
		return errors.New("osVersionManagement was [\"a list\"], and it accepted that")
	case !errors.As(err, &failure) || failure.Class != core.FailureInvalid:
		return fmt.Errorf("osVersionManagement was [\"a list\"], and its error is not of class invalid: %w", err)
	default:
		return nil
	}
}

func (r *run) schemaAccepts(context.Context) error { return r.schema.Check(r.Document) }

func (r *run) observesTwice(ctx context.Context) error {
	first, err := r.observe(ctx, r.Document)
	if err != nil {
		return err
	}
	second, err := r.observe(ctx, r.Document)
	if err == nil && !reflect.DeepEqual(first, second) {
		return fmt.Errorf("it answered %s, and then %s", shown(first), shown(second))
	}
	return err
}

func shown(o ports.Observation) string {
	text, err := json.Marshal(o)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func (r *run) observesOnly(ctx context.Context) error {
	before, err := contents(r.Plugin.WorkDir())
	if err != nil {
		return err
	}
	if _, err := r.observe(ctx, r.Document); err != nil {
		return err
	}
	after, err := contents(r.Plugin.WorkDir())
	if err != nil {
		return err
	}
	return differences(before, after)
}

func (r *run) leavesNothing(context.Context) error {
	if len(r.left) > 0 {
		return fmt.Errorf("when it had exited, children of it still ran, and were ended; it was asked to %s", strings.Join(slices.Compact(r.left), ", "))
	}
	return nil
}

func (r *run) withoutSchema() string {
	if len(r.description.Schema) == 0 {
		return "it has none"
	}
	return ""
}

func (r *run) elsewhere() string {
	if r.here != nil {
		return "it can't say how this machine stands"
	}
	return ""
}

func (r *run) withoutRequest() string {
	if r.Document == nil {
		return "no --request was given"
	}
	return r.elsewhere()
}

func (r *run) withoutRequestOrSchema() string {
	switch {
	case r.Document == nil:
		return "no --request was given"
	case r.schema == nil:
		return "it has no schema"
	default:
		return ""
	}
}

func (r *run) withoutStage() string {
	if !r.Stage {
		return "--stage was not given"
	}
	return r.withoutRequest()
}

func (r *run) withoutBootstrap() string {
	if !slices.Contains(r.description.Verbs, core.VerbBootstrap) {
		return "it does not have the verb bootstrap"
	}
	return r.withoutStage()
}
