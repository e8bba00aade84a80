package v1beta1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the group and version of every type in this package.
var GroupVersion = schema.GroupVersion{Group: "infrastructure.cluster.x-k8s.io", Version: "v1beta1"}

// AddToScheme makes the types of this package known to a scheme.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion,
		&ElementalHost{}, &ElementalHostList{},
		&ElementalMachine{}, &ElementalMachineList{},
		&ElementalMachineTemplate{}, &ElementalMachineTemplateList{},
		&ElementalRegistration{}, &ElementalRegistrationList{},
		&ElementalHostRequest{}, &ElementalHostRequestList{},
	)
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
