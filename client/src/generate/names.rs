//! Common names of the Río de la Plata. Their order must not change, because the bets of a seed
//! depend on it.

/// First names, separated by commas.
pub const FIRST_NAMES: &str = "\
    Agustín,Ana,Andrés,Ángela,Antonella,Bautista,Belén,Benjamín,Bruno,Camila,Candelaria,Carla,\
    Catalina,Cecilia,Ciro,Clara,Damián,Delfina,Diego,Dolores,Elías,Emilia,Esteban,Facundo,\
    Federico,Felipe,Fermín,Florencia,Franco,Gastón,Germán,Guadalupe,Guillermina,Hernán,Ignacio,\
    Inés,Iñaki,Joaquín,Josefina,Juan,Juana,Julián,Lautaro,Leandro,Lucía,Luz,Malena,Martín,\
    Matías,Mía,Micaela,Milagros,Morena,Nahuel,Nicolás,Olivia,Pilar,Ramiro,Rocío,Román,Rosario,\
    Santiago,Sebastián,Simón,Sofía,Thiago,Tomás,Uma,Valentín,Victoria,Ximena,Zoe";

/// Second first names, which about a third of the people have, separated by commas.
pub const MIDDLE_NAMES: &str = "\
    Abril,Agustina,Alejandro,Beatriz,Belén,Daniel,Emanuel,Ezequiel,Gabriel,Hernán,Isabel,José,\
    Lionel,Luján,María,Martina,Miguel,Nazareno,Noé,Raúl,René,Soledad,Verónica,Yanina";

/// Last names, separated by commas.
pub const LAST_NAMES: &str = "\
    Acosta,Aguirre,Albornoz,Álvarez,Arias,Ávila,Benítez,Blanco,Bravo,Bustamante,Cabrera,Cáceres,\
    Cardozo,Castro,Córdoba,Correa,Domínguez,Duarte,Escobar,Etcheverry,Farías,Fernández,Ferreyra,\
    Figueroa,Franco,Fuentes,Gallardo,Giménez,Godoy,Gómez,González,Güemes,Gutiérrez,Guzmán,\
    Heredia,Hernández,Herrera,Ibáñez,Iglesias,Juárez,Lanús,Leiva,López,Lorca,Lucero,Luna,\
    Maidana,Maldonado,Mansilla,Martínez,Medina,Méndez,Miño,Molina,Morales,Muñoz,Núñez,Ojeda,\
    Olivera,Ordóñez,Ortiz,Páez,Peralta,Pereyra,Pérez,Pineda,Ponce,Quiroga,Ramírez,Ríos,\
    Rodríguez,Romero,Sánchez,Sosa,Suárez,Toledo,Urquiza,Valdés,Vázquez,Vera,Villalba,Yáñez,\
    Zambrano,Zárate";
