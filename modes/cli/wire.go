package cli

import (
	"elemental/adapters/kubernetes/operator"
	"elemental/ports"
)

func connect(at target) (ports.Operator, error) {
	return operator.New(operator.Options{Kubeconfig: at.kubeconfig, Context: at.context, Namespace: at.namespace})
}
